"""From FACS action units to the geometry of a face.

Units: 1 is about 98 mm, which puts the pupils of an average adult 0.64 apart. The origin lies between the eyes, x
points right in the picture and y down. Proportions of the average head follow Farkas, Anthropometry of the Head and
Face (1994), rounded; what each action unit does follows Ekman, Friesen and Hager, FACS Manual (2002).

Arrays over the two sides of the face hold the left side of the picture first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Sides of the picture: left is negative x.
SIDES = (-1, 1)

# Intensity of each action unit on the left and on the right side of the picture, 0 (absent) to 1 (FACS level E).
ActionUnits = Mapping[int, tuple[float, float]]

# Action units of the expressions (Ekman's prototypes), all at full intensity. Contempt is one-sided.
EXPRESSIONS: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "contempt": (12, 14),
}
ONE_SIDED = ("contempt",)


@dataclass(frozen=True)
class Proportions:
    """What tells the shape of one face from another at rest; factors are of the average."""

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
    """One eye. Lids run from the corner at the nose to the outer corner."""

    centre: np.ndarray  # (2,)
    upper_lid: np.ndarray  # (n, 2)
    lower_lid: np.ndarray  # (n, 2)
    iris_radius: float

    @property
    def opening(self) -> np.ndarray:
        """Outline of what is seen of the eyeball, (2n, 2)."""
        return np.vstack([self.upper_lid, self.lower_lid[::-1]])


@dataclass(frozen=True)
class Mouth:
    """Lips as four curves from the left corner to the right one, (n, 2) each."""

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
class Crease:
    """A line where skin folds: (n, 2) points and a depth from 0 to about 1."""

    points: np.ndarray
    depth: float


@dataclass(frozen=True)
class Geometry:
    """Everything of a face that an expression moves."""

    outline: np.ndarray  # (n, 2), closed: face and skull without hair and ears
    brows: tuple[np.ndarray, np.ndarray]  # centre lines from the nose outwards, (n, 2)
    eyes: tuple[Eye, Eye]
    nose_tip: np.ndarray  # (2,)
    nose_wings: np.ndarray  # (2, 2), by side
    mouth: Mouth
    creases: tuple[Crease, ...]
    cheek_raise: np.ndarray  # (2,), by side, 0 to 1
    jaw_drop: float  # units that the chin has moved down


def expression(name: str, intensity: float, side: int = -1) -> ActionUnits:
    """Return the action units of a class of `EXPRESSIONS` at one intensity (0 to 1).

    Args:
        name: class name.
        intensity: of every action unit.
        side: on which side of the picture a one-sided expression is shown, -1 or 1.
    """
    if name in ONE_SIDED:
        both = (intensity, 0.0) if side < 0 else (0.0, intensity)
    else:
        both = (intensity, intensity)
    return dict.fromkeys(EXPRESSIONS[name], both)


def blend(*parts: ActionUnits) -> dict[int, tuple[float, float]]:
    """Return the stronger intensity of each action unit on each side."""
    units = sorted({unit for part in parts for unit in part})
    strongest = {u: np.max([part.get(u, (0.0, 0.0)) for part in parts], axis=0) for u in units}
    return {u: (float(left), float(right)) for u, (left, right) in strongest.items()}


def spline(points: np.ndarray, count: int) -> np.ndarray:
    """Return `count` points on the Catmull-Rom spline through points (n, 2), equally spaced in its parameter."""
    points = np.asarray(points, float)
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    position = np.linspace(0, len(points) - 1, count)
    i = np.minimum(position.astype(int), len(points) - 2)
    t = (position - i)[:, None]
    a, b, c, d = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def geometry(p: Proportions, units: ActionUnits, age: float = 0.3) -> Geometry:
    """Return the geometry of a face that shows the action units.

    Args:
        p: the face at rest.
        units: known are 1, 2, 4, 5, 6, 7, 9, 12, 14, 15, 16, 20, 23, 25, 26, 43; others do nothing.
        age: 0 (child) to 1 (old): how deep the skin folds, at rest and when it moves.
    """
    left, right = ({u: both[i] for u, both in units.items()} for i in (0, 1))
    jaw_drop = 0.21 * (left.get(26, 0.0) + right.get(26, 0.0)) / 2
    sides = (_Side(p, -1, left, age), _Side(p, 1, right, age))
    mouth = _mouth(p, left, right, jaw_drop)
    nose = np.array([0.0, 0.385 * p.nose_length - 0.012 * (sides[0].au(9) + sides[1].au(9))])
    wings = np.array([side.nose_wing() for side in sides])
    creases = [c for side in sides for c in side.creases(mouth, wings)]
    return Geometry(
        outline=_outline(p, jaw_drop),
        brows=(sides[0].brow(), sides[1].brow()),
        eyes=(sides[0].eye(), sides[1].eye()),
        nose_tip=nose,
        nose_wings=wings,
        mouth=mouth,
        creases=tuple(c for c in creases if c.depth > 0.02),
        cheek_raise=np.array(
            [min(1.0, 0.5 * side.au(6) + 0.6 * side.au(12) + 0.3 * side.au(9)) for side in sides]
        ),
        jaw_drop=jaw_drop,
    )


class _Side:
    """One half of the upper face and its folds. Points are written for the right side of the picture."""

    def __init__(self, p: Proportions, side: int, units: Mapping[int, float], age: float) -> None:
        self.p, self.side, self.units, self.age = p, side, units, age
        self.eye_x = 0.315 * p.eye_spacing

    def au(self, unit: int) -> float:
        return self.units.get(unit, 0.0)

    def mirror(self, points: np.ndarray | list) -> np.ndarray:
        return np.asarray(points, float) * (self.side, 1)

    def brow(self) -> np.ndarray:
        p, au = self.p, self.au
        y, arch = -0.21 * p.brow_height, 0.05 * p.brow_arch
        # Units 1 and 4 together draw the inner ends up and together: the lowering acts on the rest.
        inner = (
            self.eye_x - 0.185 - 0.04 * au(4),
            y - 0.105 * au(1) + 0.105 * au(4) * (1 - 0.8 * au(1)) + 0.06 * au(9),
        )
        middle = (
            self.eye_x + 0.01 - 0.02 * au(4),
            y - arch - 0.035 * au(1) - 0.075 * au(2) + 0.075 * au(4) * (1 - 0.4 * au(1)) + 0.05 * au(9),
        )
        outer = (self.eye_x + 0.20, y + 0.015 - 0.02 * au(1) - 0.075 * au(2) + 0.025 * au(4) + 0.02 * au(6))
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
        # Sad eyes: unit 1 with 4 lifts the inner part of the upper lid and lets the outer part hang.
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

    def creases(self, mouth: Mouth, wings: np.ndarray) -> list[Crease]:
        au, mirror, age = self.au, self.mirror, self.age
        old = max(0.0, age - 0.35)
        at = 0 if self.side < 0 else 1
        corner, wing = np.abs(mouth.corners[at] * (1, 0)) + mouth.corners[at] * (0, 1), np.abs(wings[at])
        fold_end = corner + (0.075, 0.02 - 0.05 * au(12))
        fold_middle = (wing + fold_end) / 2 + (0.055 + 0.03 * au(12), -0.03)
        ex, brow = self.eye_x, mirror(self.brow())
        found = [
            # Nasolabial fold: raised cheeks and lip corners (6, 12) or a wrinkled nose (9) deepen it.
            Crease(
                spline(np.array([wing + (0.025, -0.05), fold_middle, fold_end]), 16),
                0.12 + 0.4 * old + 0.5 * au(12) + 0.6 * au(9) + 0.2 * au(20) + 0.15 * au(15),
            ),
            Crease(
                _arc((ex - 0.13, 0.10), (ex, 0.135), (ex + 0.13, 0.10)),
                0.18 + 0.3 * old + 0.5 * au(6) + 0.35 * au(7),
            ),
            # Dimple beside the lip corner.
            Crease(_arc(corner + (0.035, -0.06), corner + (0.06, 0.0), corner + (0.03, 0.06)), 0.95 * au(14)),
            # Depressed lip corner: a fold runs down from it.
            Crease(
                _arc(corner + (0.015, 0.0), corner + (0.05, 0.06), corner + (0.055, 0.13)),
                0.7 * au(15) + 0.3 * old,
            ),
        ]
        # Frown line beside the root of the nose.
        found.append(
            Crease(
                _arc(brow[0] + (-0.02, -0.09), brow[0] + (-0.035, 0.0), brow[0] + (-0.02, 0.06)),
                0.55 * au(4) + 0.25 * au(9),
            )
        )
        # Lines across the root of the nose.
        found += [
            Crease(_arc((0.0, y - 0.01), (0.05, y), (0.10, y + 0.035)), 0.85 * au(9))
            for y in (0.0, 0.065, 0.13, 0.19)
        ]
        # Crow's feet.
        found += [
            Crease(
                np.array([(ex + 0.19, y0), (ex + 0.25, (y0 + y1) / 2 + 0.006), (ex + 0.31, y1)]),
                (0.55 * au(6) + 0.15 * au(9)) * (0.5 + 0.8 * age) + 0.4 * old,
            )
            for y0, y1 in ((-0.03, -0.09), (0.0, -0.01), (0.03, 0.07))
        ]
        # Lines across the forehead follow the raised brows: arched for 1 and 2, middle only for 1.
        for i, height in enumerate((-0.36, -0.45, -0.53)):
            depth = (0.5 * au(2) + 0.3 * au(1)) * (0.5 + 0.7 * age) * (1 - 0.2 * i) + 0.3 * old
            reach = 0.20 + 0.24 * max(au(2), old)
            lift = 0.02 * au(1) + 0.02 * au(2)
            found.append(
                Crease(
                    _arc(
                        (0.0, height - lift * au(1)),
                        (reach * 0.6, height - lift - 0.02),
                        (reach, height + 0.03),
                    ),
                    depth,
                )
            )
        return [Crease(mirror(c.points), min(1.0, c.depth)) for c in found]


def _arc(start: tuple | np.ndarray, middle: tuple | np.ndarray, end: tuple | np.ndarray) -> np.ndarray:
    return spline(np.array([start, middle, end]), 12)


def _mouth(p: Proportions, left: Mapping[int, float], right: Mapping[int, float], jaw_drop: float) -> Mouth:
    """Lips: a line between the corners, opened by the jaw and by the muscles that raise and lower the lips."""
    centre_y = 0.70 + 0.12 * jaw_drop
    corners = []
    for side, units in zip(SIDES, (left, right), strict=True):
        au = lambda u, units=units: units.get(u, 0.0)  # noqa: E731
        x = 0.258 * p.mouth_width + 0.085 * au(12) + 0.085 * au(20) + 0.02 * au(14) - 0.03 * au(23)
        x -= 0.36 * jaw_drop * (1 - 0.8 * au(20)) * (1 - 0.6 * au(12))
        y = centre_y - 0.105 * au(12) - 0.02 * au(14) + 0.085 * au(15) + 0.03 * au(20) + 0.10 * jaw_drop
        corners.append((side * x, y))
    mean = lambda u: (left.get(u, 0.0) + right.get(u, 0.0)) / 2  # noqa: E731
    tight = 1 - 0.6 * mean(23)
    upper = 0.072 * p.upper_lip * tight * (1 - 0.3 * mean(12)) * (1 - 0.15 * mean(26))
    lower = 0.092 * p.lower_lip * tight * (1 - 0.2 * mean(12)) * (1 - 0.15 * mean(26))
    raised = 0.10 * jaw_drop + 0.065 * mean(9) + 0.022 * mean(25) + 0.02 * mean(12) * mean(25)
    lowered = 1.05 * jaw_drop + 0.075 * mean(16) + 0.045 * mean(25) + 0.04 * mean(12) * mean(25)
    t = np.linspace(-1, 1, 41)
    share = ((1 + t) / 2)[:, None]
    ends = np.array(corners)
    chord = ends[0] * (1 - share) + ends[1] * share
    # Between the corners the line bends back to the middle of the mouth; a smile's curve is deeper than a chord.
    bend = (np.abs(t) ** 2.0)[:, None]
    line = np.column_stack([chord[:, 0], (chord * bend)[:, 1] + centre_y * (1 - bend[:, 0])])
    across = 1 - t**2
    rounded = across ** (0.5 + 0.2 * mean(20))
    bow = 0.016 * np.exp(-((t / 0.13) ** 2)) - 0.008 * np.exp(-(((np.abs(t) - 0.3) / 0.2) ** 2))
    upper_inner = line - np.column_stack([0 * t, rounded * raised - 0.35 * bow * tight * (raised < 0.01)])
    lower_inner = line + np.column_stack([0 * t, rounded * lowered])
    lower_inner[:, 1] = np.maximum(lower_inner[:, 1], upper_inner[:, 1])
    upper_outer = upper_inner - np.column_stack([0 * t, upper * across**0.8 - bow * tight])
    lower_outer = lower_inner + np.column_stack([0 * t, lower * across**0.75])
    return Mouth(upper_outer, upper_inner, lower_inner, lower_outer)


def _outline(p: Proportions, jaw_drop: float) -> np.ndarray:
    half = np.array(
        [
            (0.0, -1.13), (0.30, -1.07), (0.53, -0.88), (0.665, -0.58), (0.70, -0.22), (0.69, 0.12),
            (0.655, 0.40), (0.58, 0.68), (0.43, 0.93), (0.24, 1.09), (0.10, 1.135), (0.0, 1.14),
        ]
    )  # fmt: skip
    low = np.clip((half[:, 1] - 0.2) / 0.94, 0, 1)
    half[:, 0] *= p.width * (1 + (p.jaw - 1) * np.clip(low * 1.6, 0, 1)) * (1 - 0.10 * jaw_drop / 0.21 * low)
    half[:, 1] += low * (1.14 - 0.70) * (p.chin - 1) + low * jaw_drop
    right = spline(half, 60)
    return np.vstack([right, (right * (-1, 1))[-2:0:-1]])
