"""Paint eyes, mouth and nostrils over the lit skin."""

from __future__ import annotations

import numpy as np

from pipeline.sample.drawing.canvas import Frame, Slices, linear, paint, rgb
from pipeline.sample.drawing.geometry import SIDES, Eye, Geometry, Mouth, spline
from pipeline.sample.drawing.person import Person

_WHITE = linear((236, 230, 224))  # of eyes and teeth
_DARK = linear((42, 18, 16))  # of lines and hollows
_LASH = linear((24, 16, 14))
_PUPIL = linear((12, 10, 10))
_THROAT = 0.6 * linear((88, 34, 32))
_TONGUE = 0.75 * linear((186, 92, 88))
# Below this number of pixels per unit, lashes and gaps between teeth are left out.
_FINE = 60


def lips(person: Person, mouth: Mouth, frame: Frame, albedo: np.ndarray, gloss: np.ndarray) -> None:
    """Colour the lips, in place, before the skin is lit. The upper lip faces down and is darker."""
    red, region = frame.fill(np.vstack([mouth.upper_outer, mouth.lower_outer[::-1]]), soft=0.008)
    paint(albedo[region], 0.85 * red, person.lips)
    gloss[region] += 0.10 * red
    upper, region = frame.fill(np.vstack([mouth.upper_outer, mouth.upper_inner[::-1]]), soft=0.008)
    albedo[region] *= rgb(1 - 0.22 * upper)


def mouth(mouth: Mouth, frame: Frame, image: np.ndarray, lit: np.ndarray) -> None:
    """Paint the inside of the mouth and the line between the lips, in place.

    Args:
        mouth: the lips.
        frame: of the pixels.
        image: (h, w, 3) linear light.
        lit: (h, w, 3) light from the skin, which also lights the inside of the mouth.
    """
    parted = mouth.gap > 0.008
    if parted:
        _inside(mouth, frame, image, lit)
    line, region = frame.stroke([mouth.upper_inner], 0.009 if parted else 0.014, 0.85, soft=0.006)
    paint(image[region], line, 0.8 * _DARK)
    corners = [c + np.array([(0, 0), (s * 0.022, 0.002)]) for s, c in zip(SIDES, mouth.corners, strict=True)]
    pits, region = frame.stroke(corners, 0.02, 0.55, soft=0.012)
    paint(image[region], pits, _DARK)


def _inside(mouth: Mouth, frame: Frame, image: np.ndarray, lit: np.ndarray) -> None:
    mask, region = frame.fill(np.vstack([mouth.upper_inner, mouth.lower_inner[::-1]]), soft=0.004)
    x, y = frame.part(region)
    glow = float(lit[region].mean())
    inside = rgb(np.full(mask.shape, glow, np.float32), _THROAT)
    (left, _), (right, _) = mouth.corners
    x, half, gap = x - float(left + right) / 2, float(right - left) / 2, mouth.gap
    if gap > 0.10:
        low = float(mouth.lower_inner[:, 1].max()) + 0.02
        paint(
            inside, np.exp(-0.5 * (np.square((y - low) / (0.3 * gap)) + np.square(x / 0.12))), glow * _TONGUE
        )
    # A round mouth hides teeth that a wide mouth shows.
    wide = min(max(half / 0.225, 0.45), 1.15)
    upper, lower = min(0.075 * wide**1.5, 0.75 * gap), min(0.05 * wide**2, 0.3 * gap) if wide > 0.9 else 0.0
    # Teeth form an arch behind the lips: they end before the corners of the mouth and darken towards them.
    arch = np.clip(1 - np.square(x / (0.86 * half)), 0, 1)
    for lip, down, reach in ((mouth.upper_inner, 1, upper), (mouth.lower_inner, -1, lower)):
        edge = _height(lip, frame, region)
        depth = (y - 0.5 * edge - 0.5 * float(lip[len(lip) // 2, 1])) * down
        teeth = np.clip((reach * (0.6 + 0.4 * arch) - depth) * frame.scale + 0.5, 0, 1) * np.minimum(
            4 * arch, 1
        )
        shade = (0.35 + 0.55 * arch) * np.clip(0.55 + (depth + (y - edge) * down) / 0.06, 0.35, 1)
        if frame.scale > _FINE:
            shade *= 1 - 0.22 * np.exp(-np.square((x / 0.052 + 0.5) % 1 - 0.5) / 0.006)
        paint(inside, teeth, rgb(glow * shade, _WHITE))
    paint(image[region], mask, inside)


def eye(
    person: Person, eye: Eye, frame: Frame, image: np.ndarray, lit: np.ndarray, gaze: tuple[float, float]
) -> None:
    """Paint an eye, in place.

    Args:
        person: the identity.
        eye: the lids.
        frame: of the pixels.
        image: (h, w, 3) linear light.
        lit: (h, w, 3) light from the skin, which also lights the eyeball.
        gaze: direction of the eye, -1 to 1 right and down.
    """
    mask, region = frame.fill(eye.opening, soft=0.004)
    x, y = frame.part(region)
    glow = lit[region].mean(axis=(0, 1))
    shade = 0.92 - 0.45 * np.square((x - float(eye.centre[0])) / 0.17) + 0 * y
    ball = rgb(shade, _WHITE * glow * (1.0, 0.985, 0.975))
    _iris(person, eye, frame, ball, (x, y), glow, gaze)
    # The upper lid shades the eyeball.
    lid = _height(eye.upper_lid, frame, region)
    ball *= rgb(1 - 0.6 * np.exp(-np.maximum(y - lid, 0) / 0.018))
    paint(image[region], mask, ball)
    side, (start, end) = float(np.sign(eye.centre[0])), eye.upper_lid[[0, -1]]
    tear, region = frame.stroke([start + [(0, 0.004), (side * 0.016, 0.006)]], 0.018, 0.6, soft=0.006)
    paint(image[region], tear, person.lips * glow)
    arch = 0.012 + 0.03 * np.sin(np.linspace(0.3, 2.9, len(eye.upper_lid)))
    fold, region = frame.stroke([eye.upper_lid - np.column_stack([0 * arch, arch])], 0.013, 0.42, soft=0.006)
    paint(image[region], fold, _DARK + 0.25 * person.skin)
    lash, region = frame.stroke(
        [np.vstack([eye.upper_lid, end + (side * 0.03, -0.012)])],
        0.020,
        0.55 + 0.45 * person.lashes,
        soft=0.004,
    )
    paint(image[region], lash, _LASH)
    lower, region = frame.stroke([eye.lower_lid], 0.010, 0.25 + 0.35 * person.lashes, soft=0.005)
    paint(image[region], lower, _DARK)
    if person.lashes > 0.7 and frame.scale > _FINE:
        reach = 0.002 + 0.03 * np.linspace(0, 1, len(eye.upper_lid))
        fan = [eye.upper_lid[i] + [(0, 0), (side * reach[i], -0.028)] for i in range(5, len(reach), 2)]
        lashes, region = frame.stroke(fan, 0.006, 0.8 * person.lashes, soft=0.002)
        paint(image[region], lashes, _LASH)


def _iris(
    person: Person,
    eye: Eye,
    frame: Frame,
    ball: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    glow: np.ndarray,
    gaze: tuple[float, float],
) -> None:
    radius = eye.iris_radius
    x = (at[0] - float(eye.centre[0] + 0.05 * gaze[0])) / radius
    y = (at[1] - float(eye.centre[1] - 0.008 + 0.025 * gaze[1])) / radius
    distance = np.sqrt(x * x + y * y)
    edge = max(1 / (frame.scale * radius), 0.08)
    rays = 1 + 0.12 * np.sin(23 * np.arctan2(y, x))
    # The cornea directs light onto the lower half of the iris. The rim is dark.
    bright = (1 + 0.5 * np.clip(y, -1, 1)) * rays * (1.1 - 0.5 * np.minimum(distance, 1) ** 4)
    paint(ball, np.clip((1.0 - distance) / edge + 0.5, 0, 1), rgb(bright, 1.15 * glow * person.iris))
    paint(ball, np.clip((0.42 - distance) / edge + 0.5, 0, 1), _PUPIL)
    spark = np.exp(-(np.square(x + 0.35) + np.square(y + 0.41)) / (2 * 0.135**2))
    paint(ball, spark, np.full(3, 1.1 * glow.max(), np.float32))


def nostrils(shape: Geometry, frame: Frame, image: np.ndarray) -> None:
    """Paint the nostrils and the grooves around the wings of the nose, in place."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for side, wing in zip(SIDES, shape.nose_wings, strict=True):
        oval = np.column_stack([0.036 * np.cos(turn), 0.016 * np.sin(turn) + side * 0.0072 * np.cos(turn)])
        hole, region = frame.fill(wing * (0.47, 1) + (0, 0.048) + oval, soft=0.009)
        paint(image[region], 0.8 * hole, 0.6 * _DARK)
        line = wing + np.array([(-0.005, -0.055), (0.018, -0.01), (-0.005, 0.045)]) * (side, 1)
        groove, region = frame.stroke([spline(line, 10)], 0.014, 0.22, soft=0.01)
        image[region] *= rgb(1 - groove)


def _height(curve: np.ndarray, frame: Frame, region: Slices) -> np.ndarray:
    """Return the y of a curve across the face in each column of a region, (1, w)."""
    x, _ = frame.part(region)
    order = np.argsort(curve[:, 0])
    return np.interp(x, curve[order, 0], curve[order, 1]).astype(np.float32)
