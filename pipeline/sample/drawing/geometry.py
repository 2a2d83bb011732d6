"""Compute the geometry of a face from action units: positions of brows, lids, nose, lips and chin.

One unit is about 98 mm, so the pupils of an average adult are 0.64 apart. The origin is between the eyes; x points
right in the image and y down. Proportions of the average head are rounded from Farkas, Anthropometry of the Head and
Face (1994). Effects of the action units follow the FACS Manual (2002).

Arrays over the two sides of the face start with the left side of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.sample.drawing.expression import ActionUnits

# Sides of the image: left is negative x.
SIDES = (-1, 1)


@dataclass(frozen=True)
class Proportions:
    """The proportions of a face at rest. Values without a unit are factors of the average."""

    width: float = 1.0  # of the head
    jaw: float = 1.0  # width of the jaw
    chin: float = 1.0  # length from mouth to chin
    eye_spacing: float = 1.0
    eye_size: float = 1.0
    eye_opening: float = 1.0
    eye_tilt: float = 0.0  # outer corner above the inner one, units
    brow_height: float = 1.0
    brow_thickness: float = 1.0
    brow_arch: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    nose_depth: float = 1.0
    mouth_width: float = 1.0
    upper_lip: float = 1.0  # height of the red of the lip
    lower_lip: float = 1.0


@dataclass(frozen=True)
class Eye:
    """One eye. Lids run from the inner corner to the outer one."""

    centre: np.ndarray  # (2,)
    upper_lid: np.ndarray  # (n, 2)
    lower_lid: np.ndarray  # (n, 2)
    iris_radius: float

    @property
    def opening(self) -> np.ndarray:
        """Outline of the visible eyeball, (2n, 2)."""
        return np.vstack([self.upper_lid, self.lower_lid[::-1]])


@dataclass(frozen=True)
class Mouth:
    """Lips: four curves from the left corner to the right one, (n, 2) each."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """Left and right corner, (2, 2)."""
        return self.upper_inner[[0, -1]]

    @property
    def gap(self) -> float:
        """Distance between the lips at the middle, units."""
        middle = len(self.upper_inner) // 2
        return float(self.lower_inner[middle, 1] - self.upper_inner[middle, 1])


@dataclass(frozen=True)
class Geometry:
    """All parts of a face that an expression moves."""

    outline: np.ndarray  # (n, 2), closed: face and skull without hair and ears
    brows: tuple[np.ndarray, np.ndarray]  # centre lines from the nose outwards, (n, 2)
    eyes: tuple[Eye, Eye]
    nose_tip: np.ndarray  # (2,)
    nose_wings: np.ndarray  # (2, 2), by side
    mouth: Mouth
    cheek_raise: np.ndarray  # (2,), by side, 0 to 1
    jaw_drop: float  # distance that the chin has moved down, units


def spline(points: np.ndarray, count: int) -> np.ndarray:
    """Return `count` points, equally spaced in the parameter, on the Catmull-Rom spline through points (n, 2)."""
    points = np.asarray(points, float)
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    position = np.linspace(0, len(points) - 1, count)
    i = np.minimum(position.astype(int), len(points) - 2)
    t = (position - i)[:, None]
    a, b, c, d = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def geometry(p: Proportions, units: ActionUnits) -> Geometry:
    """Return the geometry of a face that shows the action units.

    Args:
        p: the face at rest.
        units: 1, 2, 4, 5, 6, 7, 9, 12, 14, 15, 16, 20, 23, 25, 26 and 43 have an effect, others none.
    """
    left, right = (_Side(p, side, side_of(units, side)) for side in SIDES)
    # Stretched lips (20) hold the jaw.
    jaw_drop = 0.22 * (left.au(26) + right.au(26)) / 2 * (1 - 0.35 * (left.au(20) + right.au(20)) / 2)
    return Geometry(
        outline=_outline(p, jaw_drop),
        brows=(left.brow(), right.brow()),
        eyes=(left.eye(), right.eye()),
        nose_tip=np.array([0.0, 0.385 * p.nose_length - 0.012 * (left.au(9) + right.au(9))]),
        nose_wings=np.array([left.nose_wing(), right.nose_wing()]),
        mouth=_mouth(p, left, right, jaw_drop),
        cheek_raise=np.array([left.cheek_raise(), right.cheek_raise()]),
        jaw_drop=jaw_drop,
    )


def side_of(units: ActionUnits, side: int) -> dict[int, float]:
    """Return the intensities of action units on one side of the image, -1 or 1."""
    return {unit: both[SIDES.index(side)] for unit, both in units.items()}


class _Side:
    """The moving parts of one half of the face. Formulas are for the right side of the image; `mirror` flips them."""

    def __init__(self, p: Proportions, side: int, units: Mapping[int, float]) -> None:
        self.p, self.side, self.units = p, side, units
        self.eye_x = 0.315 * p.eye_spacing

    def au(self, unit: int) -> float:
        return self.units.get(unit, 0.0)

    def mirror(self, points: np.ndarray | list) -> np.ndarray:
        return np.asarray(points, float) * (self.side, 1)

    def brow(self) -> np.ndarray:
        p, au = self.p, self.au
        y, arch = -0.21 * p.brow_height, 0.05 * p.brow_arch
        # Units 1 and 4 together raise the inner ends and pull them together. Unit 4 then lowers the rest only.
        inner = (
            self.eye_x - 0.185 - 0.04 * au(4),
            y - 0.125 * au(1) + 0.11 * au(4) * (1 - 0.8 * au(1)) + 0.06 * au(9),
        )
        middle = (
            self.eye_x + 0.01 - 0.02 * au(4),
            y - arch - 0.035 * au(1) - 0.085 * au(2) + 0.08 * au(4) * (1 - 0.4 * au(1)) + 0.05 * au(9),
        )
        outer = (self.eye_x + 0.20, y + 0.015 - 0.02 * au(1) - 0.075 * au(2) + 0.03 * au(4) + 0.02 * au(6))
        return self.mirror(spline(np.array([inner, middle, outer]), 24))

    def eye(self) -> Eye:
        p, au = self.p, self.au
        half = 0.155 * p.eye_size
        closed = min(1.0, au(43))
        upper = 0.057 * p.eye_size * p.eye_opening + 0.050 * au(5) * (1 - 0.35 * au(4) * (1 - au(1)))
        upper -= 0.012 * au(4) * (1 - au(1)) + 0.008 * au(7) + 0.012 * au(6) + 0.014 * au(9)
        lower = 0.046 * p.eye_size * p.eye_opening + 0.006 * au(5)
        lower -= 0.026 * au(6) + 0.026 * au(7) + 0.018 * au(9) + 0.006 * au(12)
        upper, lower = upper * (1 - closed) - 0.02 * closed, max(lower, 0.012) * (1 - closed) + 0.024 * closed
        t = np.linspace(0, 1, 25)
        x = self.eye_x - half + 2 * half * t
        line = 0.014 - (0.02 + p.eye_tilt) * t
        # Sad eyes: units 1 and 4 together raise the inner part of the upper lid, and its outer part hangs.
        oblique = 0.022 * min(au(1), au(4)) * (1 - au(5)) * (0.5 - t) * 2
        peak = np.sin(np.pi * t**0.85) ** 0.75
        upper_lid = line - peak * (upper + oblique)
        lower_lid = line + np.sin(np.pi * t**1.15) ** 0.85 * lower
        return Eye(
            centre=self.mirror([[self.eye_x, 0.0]])[0],
            upper_lid=self.mirror(np.column_stack([x, upper_lid])),
            lower_lid=self.mirror(np.column_stack([x, np.maximum(lower_lid, upper_lid + 0.002)])),
            iris_radius=0.063 * (0.6 + 0.4 * p.eye_size),
        )

    def nose_wing(self) -> np.ndarray:
        p, au = self.p, self.au
        x = 0.155 * p.nose_width + 0.02 * au(9) + 0.012 * au(12)
        return self.mirror([[x, 0.415 * p.nose_length - 0.05 * au(9) - 0.012 * au(12)]])[0]

    def cheek_raise(self) -> float:
        return min(1.0, 0.5 * self.au(6) + 0.6 * self.au(12) + 0.3 * self.au(9))

    def mouth_corner(self, centre_y: float, jaw_drop: float) -> np.ndarray:
        au = self.au
        x = 0.265 * self.p.mouth_width + 0.085 * au(12) + 0.10 * au(20) + 0.03 * au(14) - 0.03 * au(23)
        x -= 0.42 * jaw_drop * (1 - 0.8 * au(20)) * (1 - 0.6 * au(12))
        y = centre_y - 0.115 * au(12) - 0.04 * au(14) + 0.11 * au(15) + 0.03 * au(20) + 0.10 * jaw_drop
        return self.mirror([[x, y]])[0]


def _mouth(p: Proportions, left: _Side, right: _Side, jaw_drop: float) -> Mouth:
    """Return the lips: a line between the corners, opened by the jaw and by the muscles of the lips."""

    def au(unit: int) -> float:
        return (left.au(unit) + right.au(unit)) / 2

    centre_y = 0.70 + 0.12 * jaw_drop
    tight = 1 - 0.6 * au(23)
    upper = 0.072 * p.upper_lip * tight * (1 - 0.3 * au(12)) * (1 - 0.15 * au(26))
    lower = 0.092 * p.lower_lip * tight * (1 - 0.2 * au(12)) * (1 - 0.15 * au(26))
    raised = 0.10 * jaw_drop + 0.065 * au(9) + 0.022 * au(25) + 0.02 * au(12) * au(25)
    lowered = 1.05 * jaw_drop + 0.075 * au(16) + 0.045 * au(25) + 0.04 * au(12) * au(25)
    t = np.linspace(-1, 1, 41)
    ends = left.mouth_corner(centre_y, jaw_drop), right.mouth_corner(centre_y, jaw_drop)
    chord = ends[0] + (ends[1] - ends[0]) * ((1 + t) / 2)[:, None]
    # Between the corners the line bends towards the middle of the mouth, because a smile is deeper than a chord.
    line = np.column_stack([chord[:, 0], centre_y + (chord[:, 1] - centre_y) * t**2])
    across = 1 - t**2
    rounded = across ** (0.5 + 0.2 * au(20))
    bow = 0.016 * np.exp(-((t / 0.13) ** 2)) - 0.008 * np.exp(-(((np.abs(t) - 0.3) / 0.2) ** 2))
    # The bow of the upper lip dents the line between closed lips.
    dent = 0.35 * bow * tight * max(0.0, 1 - 100 * raised)
    upper_inner = _lowered(line, dent - rounded * raised)
    lower_inner = _lowered(line, np.maximum(rounded * lowered, dent - rounded * raised))
    upper_outer = _lowered(upper_inner, bow * tight - upper * across**0.8)
    lower_outer = _lowered(lower_inner, lower * across**0.75)
    return Mouth(upper_outer, upper_inner, lower_inner, lower_outer)


def _lowered(line: np.ndarray, by: np.ndarray) -> np.ndarray:
    return line + np.column_stack([np.zeros_like(by), by])


def _outline(p: Proportions, jaw_drop: float) -> np.ndarray:
    half = np.array(
        [
            (0.0, -1.13), (0.30, -1.07), (0.53, -0.88), (0.665, -0.58), (0.70, -0.22), (0.69, 0.12),
            (0.655, 0.40), (0.58, 0.68), (0.43, 0.93), (0.24, 1.09), (0.10, 1.135), (0.0, 1.14),
        ]
    )  # fmt: skip
    low = np.clip((half[:, 1] - 0.2) / 0.94, 0, 1)
    half[:, 0] *= p.width * (1 + (p.jaw - 1) * np.clip(low * 1.6, 0, 1)) * (1 - 0.10 * jaw_drop / 0.22 * low)
    half[:, 1] += low * (1.14 - 0.70) * (p.chin - 1) + low * jaw_drop
    right = spline(half, 60)
    return np.vstack([right, (right * (-1, 1))[-2:0:-1]])
