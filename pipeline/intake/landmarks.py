"""Boxes and landmarks that data sets publish with their faces: five points out of 68, their order, their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

# Rounding may put a point at the edge a pixel outside.
_ALLOWANCE = 1.0
# Closer together than this, in pixels, points say nothing about where a face is.
_LEAST = 2.0
# Shares of the 68 points in each of the five.
_FIVE = np.zeros((5, 68))
_FIVE[0, 36:42] = _FIVE[1, 42:48] = 1 / 6
_FIVE[[2, 3, 4], [30, 48, 54]] = 1


def numbers(cells: Sequence[str]) -> list[float]:
    """Return the numbers in some cells, NaN for a cell without one."""
    try:
        return list(map(float, cells))
    except ValueError:
        return [_number(cell) for cell in cells]


@np.errstate(over="ignore", invalid="ignore")
def five(points: np.ndarray) -> list[float]:
    """Return five landmarks out of 68: centres of the eyes, nose, mouth corners, ordered by `as_seen`.

    Args:
        points: (68, 2) or its 136 numbers in a row; pixels, in the order of Multi-PIE (Gross et al. 2010) and
            iBUG 300-W: points 37 to 42 and 43 to 48 go round the eyes, 31 is the tip of the nose, 49 and 55 are
            the corners of the mouth. One that is no number makes all five none.
    """
    return as_seen(_FIVE @ np.reshape(points, (68, 2)))


@np.errstate(over="ignore", invalid="ignore")
def as_seen(points: np.ndarray) -> list[float]:
    """Return five landmarks with left and right as seen in the picture, as ten numbers, x before y.

    Some data sets mean the subject's left. A face is never mirrored: with the eyes from left to right the mouth is
    below them, at whatever angle the head is held, so the side on which it lies tells which eye came first.

    Args:
        points: (5, 2), pixels: both eyes, nose, both mouth corners.
    """
    points = np.asarray(points, np.float64)
    across, down = points[1] - points[0], points[3:].mean(axis=0) - points[:2].mean(axis=0)
    if across[0] * down[1] - across[1] * down[0] < 0:
        points = points[[1, 0, 2, 4, 3]]
    return points.ravel().tolist()


def inside(column: pa.FixedSizeListArray, width: pa.Array, height: pa.Array) -> pa.FixedSizeListArray:
    """Return boxes or landmarks, null where they do not lie in their picture or cannot be any.

    All points must be numbers inside the picture, to within a pixel. A box must have its second corner right of
    and below the first one: widths below zero occur. Landmarks must not all lie on one spot.

    Args:
        column: N boxes (x1, y1, x2, y2) or sets of landmarks (x, y, x, y, ...); pixels.
        width: of the N pictures, pixels.
        height: likewise.
    """
    given = column.is_valid().to_numpy(zero_copy_only=False)
    points = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size // 2, 2)
    size = np.stack([width.to_numpy()[given], height.to_numpy()[given]], axis=1)[:, None]
    # Written so that NaN fails.
    good = ((points >= -_ALLOWANCE) & (points <= size + _ALLOWANCE)).all(axis=(1, 2))
    if points.shape[1] == 2:
        good &= (points[:, 1] > points[:, 0]).all(axis=1)
    else:
        points = np.where(good[:, None, None], points, 0)
        good &= np.ptp(points, axis=1).max(axis=1) >= _LEAST
    given[given] = good
    return pa.FixedSizeListArray.from_arrays(
        pa.array(_spread(points[good], given)), column.type.list_size, mask=pa.array(~given)
    )


def _spread(points: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the numbers of the points in the rows that have some, zeros in the others."""
    rows = np.zeros((len(given), *points.shape[1:]), np.float32)
    rows[given] = points
    return rows.ravel()


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
