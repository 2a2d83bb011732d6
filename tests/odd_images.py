"""Image files as strangers make them: odd but right, or wrong; and Pillow's reading of the right ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

SIDE = 20_000  # of an image that nobody has


def pixels(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """Return noise, uint8, height x width x 3."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(seed: int) -> Image.Image:
    """Return an image that survives lossy compression, 32 x 24 pixels."""
    return Image.fromarray(cv2.resize(pixels(seed, 6, 8), (32, 24), interpolation=cv2.INTER_LINEAR))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    return encoded(smooth(1), kind, save_all=True, append_images=[smooth(2)])


def turned(kind: str, orientation: int) -> bytes:
    """Return an image whose EXIF data says how the camera was held, 1 to 8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(smooth(3), kind, exif=exif)


def alpha() -> Image.Image:
    image = smooth(4).convert("RGBA")
    image.putalpha(Image.fromarray(pixels(5, 24, 32)[..., 0]))
    return image


def deep_png(*, colour: bool) -> bytes:
    """Return a PNG of 16 bits per channel."""
    shape = (24, 32, 3) if colour else (24, 32)
    values = np.random.default_rng(6).integers(0, 2**16, shape, dtype=np.uint16)
    return cv2.imencode(".png", values)[1].tobytes()


def bomb(kind: str) -> bytes:
    """Return a file of a kilobyte whose header claims 20,000 x 20,000 pixels."""
    if kind == "PNG":
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in parts
        )
    if kind == "PPM":
        return f"P6 {SIDE} {SIDE} 255\n".encode() + bytes(100)
    data = bytearray(encoded(smooth(7), kind))
    if kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", SIDE, SIDE)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", SIDE, SIDE)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", SIDE, SIDE)
    return bytes(data)


def as_pillow(data: bytes) -> np.ndarray:
    """Return an image as Pillow decodes it, turned as its EXIF data says: uint8, H x W x 3, BGR."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):  # Pillow does not say how 16 bits become 8: the upper ones count
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]
