"""Folds of the skin, from age and from action units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sample.drawing.expression import ActionUnits
from pipeline.sample.drawing.geometry import SIDES, Geometry, side_of, spline

# Shallower folds are invisible.
_SHALLOWEST = 0.02


@dataclass(frozen=True)
class Crease:
    """A fold of the skin: (n, 2) points and a depth from 0 to about 1."""

    points: np.ndarray
    depth: float


def creases(shape: Geometry, units: ActionUnits, age: float) -> list[Crease]:
    """Return the folds of a face.

    Args:
        shape: the face that shows the action units.
        units: of the expression.
        age: 0 (child) to 1 (old). It deepens the folds at rest and in motion.
    """
    folds = [fold for side in SIDES for fold in _half(shape, side_of(units, side), side, age)]
    return [fold for fold in folds if fold.depth > _SHALLOWEST]


def _half(shape: Geometry, units: dict[int, float], side: int, age: float) -> list[Crease]:
    """Return the folds of one half, computed on the right side of the image and mirrored."""

    def au(unit: int) -> float:
        return units.get(unit, 0.0)

    at, old = SIDES.index(side), max(0.0, age - 0.35)
    corner, wing, brow = (
        points * (side, 1) for points in (shape.mouth.corners[at], shape.nose_wings[at], shape.brows[at][0])
    )
    eye_x = abs(shape.eyes[at].centre[0])
    # Raised cheeks and lip corners (6, 12) or a wrinkled nose (9) deepen the nasolabial fold.
    fold_end = corner + (0.075, 0.02 - 0.05 * au(12))
    fold_middle = (wing + fold_end) / 2 + (0.055 + 0.03 * au(12), -0.03)
    fold = 0.12 + 0.4 * old + 0.5 * au(12) + 0.6 * au(9) + 0.2 * au(20) + 0.15 * au(15)
    under_eye = 0.18 + 0.3 * old + 0.5 * au(6) + 0.35 * au(7)
    folds = [
        (_arc(wing + (0.025, -0.05), fold_middle, fold_end), fold),
        (_arc((eye_x - 0.13, 0.10), (eye_x, 0.135), (eye_x + 0.13, 0.10)), under_eye),
        # The dimple beside the lip corner.
        (_arc(corner + (0.035, -0.06), corner + (0.06, 0.0), corner + (0.03, 0.06)), 0.95 * au(14)),
        # A fold down from a depressed lip corner.
        (_arc(corner + (0.015, 0), corner + (0.05, 0.06), corner + (0.055, 0.13)), 0.7 * au(15) + 0.3 * old),
        # The frown line beside the root of the nose.
        (_arc(brow + (-0.02, -0.09), brow + (-0.035, 0), brow + (-0.02, 0.06)), 0.55 * au(4) + 0.25 * au(9)),
    ]
    for y in (0.0, 0.065, 0.13, 0.19):  # across the root of the nose
        folds.append((_arc((0.0, y - 0.01), (0.05, y), (0.10, y + 0.035)), 0.85 * au(9)))
    crow = (0.55 * au(6) + 0.15 * au(9)) * (0.5 + 0.8 * age) + 0.4 * old
    for y, end in ((-0.03, -0.09), (0.0, -0.01), (0.03, 0.07)):  # crow's feet
        folds.append(
            (_arc((eye_x + 0.19, y), (eye_x + 0.25, (y + end) / 2 + 0.006), (eye_x + 0.31, end)), crow)
        )
    # Across the forehead: over its whole width with 1 and 2, only in the middle with 1.
    reach, lift = 0.20 + 0.24 * max(au(2), old), 0.02 * au(1) + 0.02 * au(2)
    for i, y in enumerate((-0.36, -0.45, -0.53)):
        depth = (0.5 * au(2) + 0.3 * au(1)) * (0.5 + 0.7 * age) * (1 - 0.2 * i) + 0.3 * old
        line = _arc((0.0, y - lift * au(1)), (reach * 0.6, y - lift - 0.02), (reach, y + 0.03))
        folds.append((line, depth))
    return [Crease(points * (side, 1), min(1.0, depth)) for points, depth in folds]


def _arc(*points: tuple[float, float] | np.ndarray) -> np.ndarray:
    return spline(np.array(points), 14)
