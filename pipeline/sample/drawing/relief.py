"""The shape of a face as a height map, which decides light and shadow."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.sample.drawing.canvas import Frame, blur
from pipeline.sample.drawing.creases import Crease
from pipeline.sample.drawing.geometry import SIDES, Geometry, Proportions
from pipeline.sample.drawing.person import Person

# Height of the middle of the face above its outline, units.
DEPTH = 0.62


def relief(person: Person, geometry: Geometry, folds: list[Crease], frame: Frame) -> np.ndarray:
    """Return the height of the skin towards the viewer, units, (h, w) float32."""
    height = _skull(geometry, frame)

    def hill(x: float, y: float, wide: float, tall: float, amount: float) -> None:
        nonlocal height
        height += frame.hill(x, y, wide, tall, amount)

    jaw = geometry.jaw_drop
    mouth_y = float(geometry.mouth.corners[:, 1].mean())
    for side, eye, cheek in zip(SIDES, geometry.eyes, geometry.cheek_raise, strict=True):
        ex = abs(eye.centre[0])
        hill(side * (ex - 0.04), -0.01, 0.15, 0.10, -0.125)  # socket
        hill(side * ex, 0.005, 0.11, 0.075, 0.055)  # eyeball
        hill(side * (ex + 0.02), -0.20, 0.17, 0.06, 0.045)  # brow ridge
        hill(side * (ex + 0.02), 0.165, 0.13, 0.035, 0.012 + 0.018 * person.age)  # bag under the eye
        hill(side * 0.45, 0.26 - 0.03 * cheek, 0.16, 0.13, 0.05)  # cheekbone
        hill(side * 0.36, 0.33 - 0.04 * cheek, 0.13, 0.12, 0.02 + 0.085 * cheek)  # apple of the cheek
        hill(side * 0.47, 0.62 + 0.5 * jaw, 0.13, 0.17, -0.03 - 0.10 * jaw + 0.02 * cheek)  # hollow
    hill(0.0, -0.48, 0.34, 0.22, 0.03)  # forehead
    hill(0.0, mouth_y - 0.02, 0.22, 0.17, 0.055)  # muzzle
    hill(0.0, mouth_y + 0.185 + 0.75 * jaw, 0.17, 0.04, -0.025)  # fold above the chin
    hill(0.0, mouth_y + 0.30 + 0.9 * jaw, 0.15, 0.10, 0.05)  # chin
    hill(0.0, mouth_y - 0.16, 0.025, 0.07, -0.012)  # philtrum
    for i, side in enumerate(SIDES):  # the hollow at the lip corner
        corner = geometry.mouth.corners[i]
        hill(corner[0] + side * 0.02, corner[1], 0.035, 0.045, -0.03)
    height += _nose(geometry, person.proportions, frame)
    lips, region = frame.fill(
        np.vstack([geometry.mouth.upper_outer, geometry.mouth.lower_outer[::-1]]), soft=0.016
    )
    height[region] += 0.035 * lips
    height -= 0.030 * _engraved(folds, frame)
    return height


def _skull(geometry: Geometry, frame: Frame) -> np.ndarray:
    """Return an egg-shaped height map over the outline. From the middle outwards it falls like an ellipse."""
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


def _nose(geometry: Geometry, p: Proportions, frame: Frame) -> np.ndarray:
    tip = float(geometry.nose_tip[1])
    x, y = frame.axes
    # Height and half-width of the ridge along the nose, from its root between the eyes to below the tip.
    at = np.array([-0.16, -0.06, 0.06, 0.7 * tip, tip, tip + 0.05, tip + 0.10, tip + 0.14])
    high = np.array([0.0, 0.065, 0.10, 0.195, 0.24, 0.18, 0.05, 0.0]) * p.nose_depth
    half = np.array([0.075, 0.06, 0.055, 0.075, 0.088, 0.085, 0.075, 0.07]) * (0.4 + 0.6 * p.nose_width)
    profile, spread = (np.interp(y, at, values).astype(np.float32) for values in (high, half))
    nose = cv2.GaussianBlur(profile * np.exp(-0.5 * np.square(x / spread)), (0, 0), 1.0)
    nose += frame.hill(0.0, tip + 0.005, 0.06 * p.nose_width, 0.05, 0.05 * p.nose_depth)
    for side, (wing_x, wing_y) in zip(SIDES, geometry.nose_wings, strict=True):
        nose += frame.hill(wing_x - side * 0.03, wing_y, 0.042, 0.042, 0.075)
        nose += frame.hill(wing_x + side * 0.045, wing_y - 0.01, 0.03, 0.05, -0.02)
    return nose


def _engraved(folds: list[Crease], frame: Frame) -> np.ndarray:
    """Return the depth of the folds, (h, w), about 0 to 1.5. A fold is a fine line in a wide furrow."""
    depth = np.zeros(frame.shape, np.float32)
    # Folds fade at their ends.
    lines = [fold.points[i : i + 2] for fold in folds for i in range(len(fold.points) - 1)]
    fade = [np.sin(np.linspace(0, np.pi, len(fold.points) + 1)[1:-1]) ** 0.7 for fold in folds]
    strength = np.concatenate([fold.depth * f for fold, f in zip(folds, fade, strict=True)])
    for width, soft, share in ((0.016, 0.008, 1.0), (0.03, 0.028, 0.9)):
        mask, region = frame.stroke(lines, width, strength, soft)
        depth[region] += share * mask
    return blur(depth, 0.5)
