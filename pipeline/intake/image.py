"""Picture files that strangers made: measured before they are decoded, decoded once, and known by their pixels."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from functools import lru_cache

import cv2
import kornia_rs
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.intake.listing import Refused

# A picture of 64 megapixels takes 192 MB decoded; a file of a few kilobytes can claim a thousand times that.
MOST_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_PNG = b"\x89PNG\r\n\x1a\n"
_IHDR = struct.Struct(
    ">12x4sIIBBxxB"
)  # kind of the first chunk, width, height, bits, kind of colour, interlacing
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_HEAD = 64 * 1024  # where a PNG's animation is announced, if it has one: before the first chunk of pixels

# Both libraries talk on standard error; what is wrong with a picture goes into the list of rejected ones.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")


def decode(data: bytes) -> np.ndarray:
    """Return the picture as uint8, H x W x 3 (BGR) or, if the file is grey, H x W; turned as its EXIF data says.

    Raises:
        Refused: `unreadable_image` (damaged, cut short, or no picture), `too_large`, `animated`.
    """
    grey, shape = _measure(data)
    if shape and data.endswith(_IEND):
        try:  # half of OpenCV's time; OpenCV says what is wrong with a picture that this refuses
            return kornia_rs.io.decode_image_png_u8(data, shape, "mono")[:, :, 0]
        except Exception:
            pass
    try:
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        )
    except cv2.error as error:
        raise Refused("unreadable_image", f"cannot be decoded: {error.err or error.code}") from None
    if pixels is None:
        raise Refused(
            "unreadable_image", f"cannot be decoded: damaged or cut short after {len(data):,} bytes"
        )
    return pixels


def fingerprint(pixels: np.ndarray) -> str:
    """Return SHA-256 over the shape and the values of a decoded picture, as hexadecimal digits.

    A grey picture has the same fingerprint whether it is stored in one channel or in three.
    """
    if pixels.ndim == 3:
        blue, green, red = cv2.split(pixels)
        if np.array_equal(blue, green) and np.array_equal(green, red):
            pixels = blue
    digest = _over_shape(pixels.shape).copy()
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@lru_cache(2**8)  # faces of a data set mostly have one
def _over_shape(shape: tuple[int, ...]) -> hashlib._Hash:
    return hashlib.sha256(repr(shape).encode())


def _measure(data: bytes) -> tuple[bool, tuple[int, int] | None]:
    """Refuse what must not be decoded, from the header alone.

    Returns:
        Whether the file is a grey PNG; height and width, if it is the plain one: eight bits, rows in order.
    """
    # Pillow takes longer to look at the header of a small PNG than OpenCV to decode it.
    head = data.find(b"IDAT", 0, _HEAD)
    if data.startswith(_PNG) and len(data) > _IHDR.size and data.find(b"acTL", 0, head) < 0:
        chunk, width, height, bits, colour, interlaced = _IHDR.unpack_from(data)
        if chunk == b"IHDR":
            if width * height > MOST_PIXELS:
                raise _too_large(width, height)
            return colour == 0, (height, width) if (bits, colour, interlaced) == (8, 0, 0) else None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "GIF", "WEBP") else 1
    except UnidentifiedImageError:
        raise Refused("unreadable_image", f"not a picture; allowed: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise Refused("too_large", f"the header claims too many pixels, allowed: {MOST_PIXELS:,}") from None
    except Exception as error:  # a damaged header can make a parser raise anything
        raise Refused("unreadable_image", f"the header is damaged: {error}") from None
    if width * height > MOST_PIXELS:
        raise _too_large(width, height)
    if frames > 1:
        raise Refused.of("animated", f"{frames} frames", "one")
    return False, None


def _too_large(width: int, height: int) -> Refused:
    return Refused.of("too_large", f"{width} x {height} pixels", f"at most {MOST_PIXELS:,}")
