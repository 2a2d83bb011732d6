"""Faces as small images, many in one file: an image of its own for each would take several times the bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

COLUMNS = 16  # of a sheet, which has as many rows
SHEET = COLUMNS**2
BUDGET = 8_000_000  # bytes of all sheets
# Side in pixels and quality of a face, the best first.
SIZES = ((64, 70), (48, 65), (40, 60), (32, 55), (28, 50), (24, 45), (20, 40), (16, 30), (12, 20), (8, 10))
ABSENT = 127  # grey, in the place of a face that is not available


class Sprites(NamedTuple):
    """Sheets of `SHEET` faces in rows, WebP files; `side` of a face in pixels."""

    sheets: list[bytes]
    side: int


def sprites(faces: Sequence[np.ndarray | None]) -> Sprites:
    """Return faces, uint8 [H, W, C] grey or RGB, at the best of `SIZES` that keeps them below `BUDGET`.

    The size is chosen from one sheet of faces that are spread over all of them.
    """
    shape = next(face.shape for face in faces if face is not None)
    some = [faces[row] for row in np.linspace(0, len(faces) - 1, SHEET).astype(int)]
    for side, quality in SIZES:
        if side <= shape[0] or (side, quality) == SIZES[-1]:
            expected = len(_sheet(some, side, quality, shape[2])) / SHEET * (len(faces) + SHEET)
            if expected <= BUDGET:
                break
    starts = range(0, len(faces), SHEET)
    return Sprites([_sheet(faces[start : start + SHEET], side, quality, shape[2]) for start in starts], side)


def _sheet(faces: Sequence[np.ndarray | None], side: int, quality: int, channels: int) -> bytes:
    tiles = np.full((SHEET, side, side, channels), ABSENT, np.uint8)
    for tile, face in zip(tiles, faces, strict=False):
        if face is not None:
            tile[:] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA).reshape(tile.shape)
    rows = tiles.reshape(COLUMNS, COLUMNS, side, side, channels).transpose(0, 2, 1, 3, 4)
    pixels = rows.reshape(COLUMNS * side, COLUMNS * side, channels)
    file = io.BytesIO()
    Image.fromarray(np.repeat(pixels, 3 // channels, axis=2)).save(file, "WEBP", quality=quality, method=3)
    return file.getvalue()
