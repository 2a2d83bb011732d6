"""Picture files that strangers made: read inside one folder only, measured before they are decoded."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.datasets._record import Refused

# A picture of 64 megapixels takes 192 MB decoded; a file of a few kilobytes can claim a thousand times that.
MOST_PIXELS = 64_000_000
MOST_BYTES = 256 * 2**20
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

# Both libraries talk on standard error; what is wrong with a picture goes into the list of rejected ones.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")


def read(folder: Path, name: str) -> bytes:
    """Return the bytes of the file `name` in `folder`, which may be a symbolic link itself.

    Raises:
        Refused: `missing_image`, `outside_folder` (a path or link that leaves the folder), `too_large`,
            `unreadable_image`.
    """
    try:
        real = os.path.realpath(folder / name, strict=True)
        if not Path(real).is_relative_to(os.path.realpath(folder)):
            raise Refused("outside_folder", f"{name} leads to {real}, allowed: files inside {folder}")
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("unreadable_image", f"{folder / name} is not a file")
        if status.st_size > MOST_BYTES:
            raise Refused("too_large", f"found {status.st_size:,} bytes, allowed: at most {MOST_BYTES:,}")
        with open(real, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise Refused("missing_image", f"{folder / name} does not exist") from None
    except (OSError, ValueError) as error:  # no permission, a loop of links, a name too long, a NUL in it
        raise Refused(
            "unreadable_image", f"{name[:80]!r}: {getattr(error, 'strerror', None) or error}"
        ) from None


def decode(data: bytes) -> np.ndarray:
    """Return the picture as uint8, H x W x 3 (BGR), turned as its EXIF orientation says.

    Raises:
        Refused: `unreadable_image` (damaged, cut short, or no picture), `too_large`.
    """
    width, height = _claimed_size(data)
    if width * height > MOST_PIXELS:
        raise Refused("too_large", f"found {width} x {height} pixels, allowed: at most {MOST_PIXELS:,}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise Refused("unreadable_image", f"cannot be decoded: {error.err or error.code}") from None
    if pixels is None:
        raise Refused(
            "unreadable_image", f"cannot be decoded: damaged or cut short after {len(data):,} bytes"
        )
    return pixels


def fingerprint(pixels: np.ndarray) -> str:
    """Return SHA-256 over the shape and the values of a decoded picture, as hexadecimal digits."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the header, without decoding."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS).size
    except UnidentifiedImageError:
        raise Refused("unreadable_image", f"not a picture; allowed: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise Refused("too_large", f"the header claims too many pixels, allowed: {MOST_PIXELS:,}") from None
    except Exception as error:  # a damaged header can make a parser raise anything
        raise Refused("unreadable_image", f"the header is damaged: {error}") from None
