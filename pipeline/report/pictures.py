"""Pictures inside the page, as WebP in data URIs: a tenth of the size of the PNG files that stages draw."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.errors import UserError, one_line
from pipeline.intake.guards import Rejection
from pipeline.intake.image import check_pixels

WIDEST = 1400  # width of a sheet in pixels
LARGEST = 96  # side of a face in pixels


def sheet(path: Path) -> tuple[str, int, int]:
    """Return a picture file as a data URI, with its width and height in pixels.

    Raises:
        UserError: the file is not a picture.
    """
    try:
        with Image.open(path) as file:
            check_pixels(*file.size)
            picture = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError, Rejection) as error:
        raise UserError(f"{path}: not a picture: {one_line(error)}; `dvc checkout` restores it") from None
    picture.thumbnail((WIDEST, 8 * WIDEST), Image.Resampling.LANCZOS)
    return _uri(picture, 80), picture.width, picture.height


def face(pixels: np.ndarray) -> str:
    """Return a face, uint8 [H, W, C] grey or RGB, as a data URI."""
    picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return _uri(picture, 85)


def _uri(picture: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
