"""Images inside the page, as WebP in data URIs: a tenth of the size of the PNG files that stages draw."""

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
    """Return an image file as a data URI, with its width and height in pixels.

    Raises:
        UserError: the file is not an image.
    """
    try:
        with Image.open(path) as file:
            check_pixels(*file.size)
            image = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError, Rejection) as error:
        raise UserError(f"{path}: not an image: {one_line(error)}; `dvc checkout` restores it") from None
    image.thumbnail((WIDEST, 8 * WIDEST), Image.Resampling.LANCZOS)
    return _uri(image, 80), image.width, image.height


def face(pixels: np.ndarray) -> str:
    """Return a face, uint8 [H, W, C] grey or RGB, as a data URI."""
    image = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return _uri(image, 85)


def _uri(image: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
