"""The shape of a face as a height map: where light and shadow come from."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.drawing.canvas import Frame, blur
from pipeline.drawing.expression import SIDES, Geometry
from pipeline.drawing.person import Person

# How far the middle of the face stands before its outline, units.
DEPTH = 0.62


def relief(person: Person, geometry: Geometry, frame: Frame) -> np.ndarray:
    """Return the height of the skin towards the viewer, units, (h, w) float32; 0 outside the outline."""
    x, y = frame.axes
    p = person.proportions
    height = _skull(geometry, frame)
    jaw = geometry.jaw_drop
    mouth_y = float(geometry.mouth.corners[:, 1].mean())
    bump = _Bumps(height, x, y)
    for side, eye, cheek in zip(SIDES, geometry.eyes, geometry.cheek_raise, strict=True):
        ex = abs(eye.centre[0])
        bump.add(side * (ex - 0.04), -0.01, 0.15, 0.10, -0.125)  # socket
        bump.add(side * ex, 0.005, 0.11, 0.075, 0.055)  # eyeball
        bump.add(side * (ex + 0.02), -0.20, 0.17, 0.06, 0.045)  # brow ridge
        bump.add(side * (ex + 0.02), 0.165, 0.13, 0.035, 0.012 + 0.018 * person.age)  # bag under the eye
        bump.add(side * 0.45, 0.26 - 0.03 * cheek, 0.16, 0.13, 0.05)  # cheekbone
        bump.add(side * 0.36, 0.33 - 0.04 * cheek, 0.13, 0.12, 0.02 + 0.085 * cheek)  # apple of the cheek
        bump.add(side * 0.47, 0.62 + 0.5 * jaw, 0.13, 0.17, -0.03 - 0.10 * jaw + 0.02 * cheek)  # hollow
    bump.add(0.0, -0.48, 0.34, 0.22, 0.03)  # forehead
    bump.add(0.0, mouth_y - 0.02, 0.22, 0.17, 0.055)  # muzzle
    bump.add(0.0, mouth_y + 0.185 + 0.75 * jaw, 0.17, 0.04, -0.025)  # fold above the chin
    bump.add(0.0, mouth_y + 0.30 + 0.9 * jaw, 0.15, 0.10, 0.05)  # chin
    bump.add(0.0, mouth_y - 0.16, 0.025, 0.07, -0.012)  # philtrum
    for i, side in enumerate(SIDES):  # where the lip corner sinks in
        corner = geometry.mouth.corners[i]
        bump.add(corner[0] + side * 0.02, corner[1], 0.035, 0.045, -0.03)
    _nose(bump, geometry, p.nose_depth, p.nose_width)
    lips, where = frame.fill(
        np.vstack([geometry.mouth.upper_outer, geometry.mouth.lower_outer[::-1]]), soft=0.016
    )
    height[where] += 0.035 * lips
    height -= 0.030 * _creases(geometry, frame)
    return height


class _Bumps:
    """Adds Gaussian hills and hollows to a height map."""

    def __init__(self, height: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        self.height, self.x, self.y = height, x, y

    def add(self, x: float, y: float, wide: float, tall: float, amount: float) -> None:
        """Add a hill at x, y with deviations `wide` and `tall`, all in units."""
        column = amount * np.exp(-0.5 * np.square((self.y - y) / tall))
        self.height += column * np.exp(-0.5 * np.square((self.x - x) / wide))


def _skull(geometry: Geometry, frame: Frame) -> np.ndarray:
    """Return an egg over the outline: the height falls from the middle to the outline as an ellipse's does."""
    x, y = frame.axes
    centre_y = 0.05 + 0.4 * geometry.jaw_drop
    angle = np.arctan2(geometry.outline[:, 1] - centre_y, geometry.outline[:, 0])
    radius = np.hypot(geometry.outline[:, 0], geometry.outline[:, 1] - centre_y)
    steps = np.linspace(0, 2 * np.pi, 721, dtype=np.float32)
    inverse = (1 / np.interp(steps, angle % (2 * np.pi), radius, period=2 * np.pi)).astype(np.float32)
    rows, columns = frame.shape
    distance, direction = cv2.cartToPolar(
        np.broadcast_to(x, (rows, columns)).copy(), np.broadcast_to(y - centre_y, (rows, columns)).copy()
    )
    share = distance * inverse[(direction * (720 / (2 * np.pi))).astype(np.int32)]
    return DEPTH * np.sqrt(np.maximum(1 - share * share * np.sqrt(share), 0))


def _nose(bump: _Bumps, geometry: Geometry, depth: float, width: float) -> None:
    tip = float(geometry.nose_tip[1])
    # Ridge: height and half-width along the nose, from its root between the eyes to below the tip.
    at = np.array([-0.16, -0.06, 0.06, 0.7 * tip, tip, tip + 0.05, tip + 0.10, tip + 0.14])
    high = np.array([0.0, 0.065, 0.10, 0.195, 0.24, 0.18, 0.05, 0.0]) * depth
    half = np.array([0.075, 0.06, 0.055, 0.075, 0.088, 0.085, 0.075, 0.07]) * (0.4 + 0.6 * width)
    y = bump.y[:, 0]
    profile = np.interp(y, at, high).astype(np.float32)[:, None]
    spread = np.interp(y, at, half).astype(np.float32)[:, None]
    rows = np.flatnonzero(profile[:, 0] > 0)
    part = slice(rows[0], rows[-1] + 1)
    ridge = profile[part] * np.exp(-0.5 * np.square(bump.x / spread[part]))
    bump.height[part] += cv2.GaussianBlur(ridge, (0, 0), 1.0)
    bump.add(0.0, tip + 0.005, 0.06 * width, 0.05, 0.05 * depth)
    for side, wing in zip(SIDES, geometry.nose_wings, strict=True):
        bump.add(wing[0] - side * 0.03, wing[1], 0.042, 0.042, 0.075)
        bump.add(wing[0] + side * 0.045, wing[1] - 0.01, 0.03, 0.05, -0.02)


def _creases(geometry: Geometry, frame: Frame) -> np.ndarray:
    depth = np.zeros(frame.shape, np.float32)
    if geometry.creases:
        # Folds fade out at their ends.
        lines = [
            crease.points[i : i + 2] for crease in geometry.creases for i in range(len(crease.points) - 1)
        ]
        strength = np.concatenate(
            [
                c.depth * np.sin(np.linspace(0, np.pi, len(c.points) + 1)[1:-1]) ** 0.7
                for c in geometry.creases
            ]
        )
        fine, where = frame.stroke(lines, 0.016, strength, soft=0.008)
        depth[where] += fine
        wide, where = frame.stroke(lines, 0.03, strength, soft=0.028)
        depth[where] += 0.9 * wide
    return blur(depth, 0.5)
