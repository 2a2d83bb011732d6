"""The one decoder of image files. It measures a file before it decodes it, as the file may come from a stranger."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from collections.abc import Sequence
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.errors import UserError
from pipeline.intake import depth
from pipeline.intake.guards import MOST_BYTES, Rejection

# An image of 64 megapixels takes 192 MB decoded. The header of a small file can claim a thousand times that.
MOST_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# Bytes of a pixel while OpenCV decodes it: it returns a copy of what it has decoded. Formats that are stored in several
# passes, such as progressive JPEG, and 16-bit samples take up to twice as much.
DECODING = 6
# Levels between the darkest and the lightest pixel of a channel. The darkest face of FER+ spans 48.
LEAST_CONTRAST = 8
_BAND = 2**20  # pixels that are compared at a time
_PNG_START = struct.Struct(">16sII")  # signature and name of the first chunk, width, height
_PNG_NAME = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_HEAD = 64 * 1024  # bytes: an animated PNG says so (acTL) before its first chunk of pixels (IDAT)

# Both libraries write to standard error. What is wrong with an image belongs in the list of rejected rows.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")


def cost(width: int, height: int, encoded: int) -> int:
    """Return the bytes that an image takes in memory while it is decoded.

    Args:
        width: pixels.
        height: pixels.
        encoded: bytes of the image's file.
    """
    return DECODING * width * height + encoded


# The most that an image takes.
LARGEST = cost(MOST_PIXELS, 1, MOST_BYTES)


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: BGR, uint8, H x W x 3.
        bits: bits that its samples used, see `depth.eight_bits`; None if they had 8 bits.
    """

    pixels: np.ndarray
    bits: int | None


def decode(data: bytes) -> np.ndarray:
    """Return an image as `decode_deep` does, without the bits."""
    return decode_deep(data).pixels


def decode_deep(data: bytes) -> Decoded:
    """Return an image turned as its EXIF data says, with the bits that its samples used.

    Alpha is ignored: a transparent pixel has the colour that the file stores for it. A GIF stores none, so its
    background's colour is used.

    Raises:
        Rejection: `unreadable_image` (damaged, cut short, or no image), `too_large`, `animated`,
            `unsupported_depth`.
    """
    dimensions(io.BytesIO(data))
    tiff = depth.Tiff.read(io.BytesIO(data)) if depth.TIFF.match(data) else None
    pixels = _without_alpha(data) if tiff and tiff.alpha else _with_opencv(data)
    pixels, bits = depth.eight_bits(pixels, data)
    return Decoded(cv2.bitwise_not(pixels) if tiff and tiff.inverted else pixels, bits)


def _with_opencv(data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise Rejection("unreadable_image", f"cannot be decoded: {error.err or error.code}") from None
    if pixels is None:
        raise Rejection(
            "unreadable_image", f"cannot be decoded: damaged or cut short after {len(data):,} bytes"
        )
    return pixels


def _without_alpha(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            colours = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise Rejection("unreadable_image", f"cannot be decoded: {error}") from None
    return cv2.cvtColor(np.asarray(colours), cv2.COLOR_RGB2BGR)


def is_flat(pixels: np.ndarray) -> bool:
    """Return whether an image (uint8, H x W x 3) has less than `LEAST_CONTRAST` in each channel."""
    for channel in range(pixels.shape[2]):
        low, high, *_ = cv2.minMaxLoc(cv2.extractChannel(pixels, channel))
        if high - low >= LEAST_CONTRAST:
            return False
    return True


def decode_ingested(name: str, data: bytes) -> np.ndarray:
    """Return an image that `ingest` has accepted, as `decode` does.

    Raises:
        UserError: the bytes are no image; the table was not written by `ingest`.
    """
    try:
        return decode(data)
    except Rejection:
        raise UserError(f"{name}: {len(data)} bytes that are no image; run ingest again") from None


def fingerprint(pixels: np.ndarray) -> str:
    """Return SHA-256 over the shape and the values of a decoded image, as hexadecimal digits.

    An image whose three channels are equal counts as one of one channel, so that a grey image has the same
    fingerprint in either form.
    """
    flat = np.ascontiguousarray(pixels).reshape(-1, 1, 3)
    bands = [flat[start : start + _BAND] for start in range(0, len(flat), _BAND)]
    grey = all(_is_grey(band) for band in bands)
    digest = hashlib.sha256(repr(pixels.shape[:2] if grey else pixels.shape).encode())
    for band in bands:
        digest.update((cv2.extractChannel(band, 0) if grey else band).reshape(-1).data)
    return digest.hexdigest()


def face_fingerprint(pixels: str, box: Sequence[float]) -> str:
    """Return the fingerprint of one of several faces in an image: SHA-256 over the image's and the face's box."""
    return hashlib.sha256(f"{pixels} {' '.join(map(str, box))}".encode()).hexdigest()


def _is_grey(band: np.ndarray) -> bool:
    blue, green, red = (channel.tobytes() for channel in cv2.split(band))
    return blue == green == red


def dimensions(file: IO[bytes]) -> tuple[int, int]:
    """Return the width and height that the header of an image's file claims.

    Raises:
        Rejection: an image that must not be decoded: `unreadable_image`, `too_large`, `animated` or
            `unsupported_depth`.
    """
    animated, head = False, file.read(_HEAD)
    if head[:16] == _PNG_NAME and len(head) >= _PNG_START.size and b"acTL" not in head[: head.find(b"IDAT")]:
        # Pillow takes longer over the header of a small PNG than OpenCV over all of it.
        _, width, height = _PNG_START.unpack_from(head)
    elif depth.PFM.match(head):
        raise Rejection.of("unsupported_depth", "32-bit floating-point samples", depth.ALLOWED)
    elif depth.TIFF.match(head):
        file.seek(0)
        try:
            # Pillow itself opens only some of the depths that OpenCV decodes.
            width, height, *_ = depth.Tiff.read(file)
        except Rejection:
            raise
        except KeyError as tag:
            raise _damaged(f"no tag {tag}") from None
        except Exception as error:
            raise _damaged(error) from None
    else:
        try:
            file.seek(0)
            # Pillow reads the header of a PPM byte by byte, however long its comments are.
            with Image.open(io.BytesIO(head) if head[:1] == b"P" else file, formats=FORMATS) as image:
                width, height = image.size
                # Not `n_frames`: to count the frames of a GIF, Pillow reads all of it.
                animated = image.format in ("PNG", "GIF", "WEBP") and getattr(image, "is_animated", False)
        except UnidentifiedImageError:
            raise Rejection("unreadable_image", f"not an image; allowed: {', '.join(FORMATS)}") from None
        except Image.DecompressionBombError:
            raise Rejection(
                "too_large", f"the header claims too many pixels, allowed: {MOST_PIXELS:,}"
            ) from None
        except Exception as error:  # a damaged header can make a parser raise anything
            raise _damaged(error) from None
    check_pixels(width, height)
    if animated:
        raise Rejection.of("animated", "more than one frame", "one")
    return width, height


def _damaged(why: object) -> Rejection:
    return Rejection("unreadable_image", f"the header is damaged: {why}")


def check_pixels(width: int, height: int) -> None:
    """Reject an image of more than `MOST_PIXELS`.

    Raises:
        Rejection: `too_large`.
    """
    if width * height > MOST_PIXELS:
        raise Rejection.of("too_large", f"{width} x {height} pixels", f"at most {MOST_PIXELS:,}")
