"""Boxes and landmarks that data sets publish: five points out of 68, their order, and the check against the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.intake.guards import Rejection

# Pixels that a point may lie outside of its image: rounding does that.
_ALLOWANCE = 1.0
# Pixels: landmarks closer together than this say nothing about where a face is.
_LEAST_EXTENT = 2.0
# Weights of the 68 points in each of the five.
_FIVE = np.zeros((5, 68))
_FIVE[0, 36:42] = _FIVE[1, 42:48] = 1 / 6
_FIVE[[2, 3, 4], [30, 48, 54]] = 1


def numbers(cells: Sequence[str]) -> list[float]:
    """Return the numbers in some cells, NaN for a cell without one."""
    return [_number(cell) for cell in cells]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


@np.errstate(over="ignore", invalid="ignore")
def five(points: np.ndarray) -> list[float]:
    """Return five landmarks out of 68: centres of the eyes, nose, mouth corners, ordered by `as_seen`.

    Args:
        points: (68, 2) or its 136 numbers in a row; pixels, in the order of Multi-PIE (Gross et al. 2010) and
            iBUG 300-W. Points 37 to 42 and 43 to 48 go round the eyes, 31 is the tip of the nose, 49 and 55 are
            the corners of the mouth. One NaN among them makes all ten numbers NaN.
    """
    return as_seen(_FIVE @ np.reshape(points, (68, 2)))


@np.errstate(over="ignore", invalid="ignore")
def as_seen(points: np.ndarray) -> list[float]:
    """Return five landmarks with left and right as seen in the image, as ten numbers, x before y.

    Some data sets mean the subject's left. No image is mirrored, and in a face whose eyes are ordered from left to
    right, the mouth is below the eyes at whatever angle the head is held. So the side of the mouth tells which eye
    comes first.

    Args:
        points: (5, 2), pixels: both eyes, nose, both mouth corners.
    """
    points = np.asarray(points, np.float64)
    across, down = points[1] - points[0], points[3:].mean(axis=0) - points[:2].mean(axis=0)
    if across[0] * down[1] - across[1] * down[0] < 0:
        points = points[[1, 0, 2, 4, 3]]
    return points.ravel().tolist()


def face_box(box: Sequence[float], width: int, height: int, unit: str) -> list[float]:
    """Return the box of a face in pixels, cut to its image.

    Args:
        box: x1, y1, x2, y2.
        width: of the image, pixels.
        height: likewise.
        unit: of the box, `pixels` or `shares` of the image's width and height.

    Raises:
        Rejection: `bad_box` if it is no box, or less than half of it lies in the image.
    """
    x1, y1, x2, y2 = np.multiply(box, [width, height] * 2 if unit == "shares" else 1.0).tolist()
    cut = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    sides = cut[2] - cut[0], cut[3] - cut[1]
    # NaN fails every comparison.
    if not (min(sides) > 0 and 2 * sides[0] * sides[1] >= (x2 - x1) * (y2 - y1)):
        found = f"the box {', '.join(f'{value:g}' for value in (x1, y1, x2, y2))}"
        raise Rejection.of("bad_box", found, f"x1, y1, x2, y2 in the {width} x {height} pixels of the image")
    return cut


def inside(points: Sequence[float], width: int, height: int) -> bool:
    """Return whether a box or landmarks lie in their image and can be those of a face.

    All points must be numbers inside the image, to within a pixel. A box needs its second corner right of and below
    the first one: published widths may be negative. Landmarks must not all be on one spot.

    Args:
        points: a box (x1, y1, x2, y2) or landmarks (x, y, x, y, ...), pixels.
        width: of the image, pixels.
        height: likewise.
    """
    x, y = points[::2], points[1::2]
    # NaN fails every comparison.
    if not all(
        -_ALLOWANCE <= value <= size + _ALLOWANCE
        for axis, size in ((x, width), (y, height))
        for value in axis
    ):
        return False
    if len(points) == 4:
        return x[1] > x[0] and y[1] > y[0]
    return max(max(x) - min(x), max(y) - min(y)) >= _LEAST_EXTENT
