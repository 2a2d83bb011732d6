"""A shaded head: skin, eyes, brows, mouth, beard and glasses over the relief of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.drawing import hair
from pipeline.drawing.canvas import Frame, Light, blur, linear, mix, noise, relief_normals, spread
from pipeline.drawing.expression import SIDES, ActionUnits, Eye, Geometry, Mouth, geometry, spline
from pipeline.drawing.person import Person
from pipeline.drawing.relief import relief

# How far light reaches around an edge of skin: red goes deepest.
_SKIN_WRAP = (0.34, 0.22, 0.17)
_WHITE = linear((236, 230, 224))
_DARK = linear((42, 18, 16))


@dataclass(frozen=True)
class Head:
    """A drawn head.

    Attributes:
        frame: what the pixels show.
        front: (h, w, 4) linear light times coverage, and coverage.
        back: the same for the hair that hangs behind the neck, if any does.
        height: (h, w) units towards the viewer, for turning the head.
    """

    frame: Frame
    front: np.ndarray
    back: np.ndarray | None
    height: np.ndarray


def draw(person: Person, units: ActionUnits, gaze: tuple[float, float], light: Light, scale: float) -> Head:
    """Return a head that shows the action units.

    Args:
        person: who.
        units: of the expression.
        gaze: where the eyes look, -1 to 1 right and down.
        light: in the frame of the head.
        scale: pixels per unit.
    """
    frame = Frame(-1.08, -1.55, 2.16, 3.35 if person.style == "long" else 3.05, scale)
    rng = np.random.default_rng(person.texture)
    shape = geometry(person.proportions, units, person.age)
    height = relief(person, shape, frame)
    head, where = frame.fill(shape.outline, soft=0.5 / scale)
    cover = np.zeros(frame.shape, np.float32)
    cover[where] = head
    if person.style not in hair.OVER_EARS:
        _ears(person, shape, frame, height, cover)
    albedo, gloss = _skin(person, shape, frame, rng)
    _lips(person, shape.mouth, frame, albedo, gloss)
    hair.brows(person, shape, frame, albedo, rng)
    hair.beard(person, shape, frame, albedo, gloss, rng)
    normals = relief_normals(blur(height, 0.6), scale)
    hollow = np.clip((blur(height, 0.07 * scale) - height) * 5.0, -0.12, 0.5)
    lit = light.on(normals, _SKIN_WRAP, 1 - hollow)
    image = albedo * lit + spread(gloss * light.gloss(normals, 18), light.colour)
    for eye in shape.eyes:
        _eye(person, eye, frame, image, lit, gaze)
    _mouth_inside(shape.mouth, frame, image, lit)
    _nostrils(shape, frame, image)
    back = hair.grow(person, shape, frame, image, cover, height, light, rng)
    if person.glasses:
        _glasses(person, shape, frame, image, light)
    return Head(frame, cv2.merge([*cv2.split(image * spread(cover)), cover]), back, height)


def _ears(person: Person, shape: Geometry, frame: Frame, height: np.ndarray, cover: np.ndarray) -> None:
    x, y = frame.axes
    edge = 0.695 * person.proportions.width
    for side in SIDES:
        outline = np.array(
            [
                (-0.04, -0.10),
                (0.04, -0.17),
                (0.10, -0.14),
                (0.115, -0.02),
                (0.085, 0.12),
                (0.04, 0.24),
                (-0.04, 0.25),
            ]
        )
        points = spline(outline, 40) * (side, 1) + (side * edge, 0.10)
        mask, where = frame.fill(points, soft=0.5 / frame.scale)
        inside = np.maximum(mask - cover[where], 0)
        rim, rim_where = frame.stroke([points[:34] * 0.985], 0.03, 1.0, soft=0.012)
        height[where] += inside * 0.12
        part = np.zeros_like(height)
        part[rim_where] = rim * 0.035
        height += part * (cover < 0.5)
        cover[where] = np.maximum(cover[where], mask)


def _skin(
    person: Person, shape: Geometry, frame: Frame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour of the skin (h, w, 3) and how much it shines (h, w)."""
    x, y = frame.axes
    scale = frame.scale
    hill = lambda cx, cy, wide, tall: (
        np.exp(-0.5 * np.square((y - cy) / tall)) * np.exp(-0.5 * np.square((x - cx) / wide))
    )  # noqa: E731
    red = 0.55 * hill(0, shape.nose_tip[1] + 0.01, 0.11, 0.07)
    dark = np.zeros(frame.shape, np.float32)
    for side, eye, cheek in zip(SIDES, shape.eyes, shape.cheek_raise, strict=True):
        red += (0.8 + 0.3 * cheek) * hill(side * 0.42, 0.33, 0.17, 0.14)
        dark += 0.22 * hill(eye.centre[0] - side * 0.02, 0.09, 0.13, 0.06) + 0.2 * hill(
            eye.centre[0], -0.06, 0.14, 0.05
        )
    mottled = noise(rng, frame.shape, 0.22 * scale) * 0.022 + noise(rng, frame.shape, 0.05 * scale) * 0.014
    grain = noise(rng, frame.shape, max(1.2, 0.012 * scale)) * 0.018
    tone = (1 + mottled + grain) * (1 - dark)
    blush = np.minimum(person.blush * red, 1)
    shifts = (0.06, -0.20, -0.18)
    albedo = cv2.merge([tone * (1 + s * blush) * float(c) for c, s in zip(person.skin, shifts, strict=True)])
    if person.freckles:
        spots = np.clip(noise(rng, frame.shape, max(1.5, 0.022 * scale)) - 1.5, 0, 1) * np.minimum(red, 1)
        albedo *= 1 - (person.freckles * 0.5 * spots)[..., None] * np.array([0.6, 0.8, 1.0], np.float32)
    gloss = 0.05 + 0.07 * (hill(0, -0.45, 0.3, 0.2) + hill(0, shape.nose_tip[1] - 0.03, 0.06, 0.12))
    for side in SIDES:
        gloss += 0.04 * hill(side * 0.4, 0.24, 0.13, 0.09)
    return albedo.astype(np.float32), gloss.astype(np.float32)


def _lips(person: Person, mouth: Mouth, frame: Frame, albedo: np.ndarray, gloss: np.ndarray) -> None:
    outline = np.vstack([mouth.upper_outer, mouth.lower_outer[::-1]])
    mask, where = frame.fill(outline, soft=0.008)
    upper, upper_where = frame.fill(np.vstack([mouth.upper_outer, mouth.upper_inner[::-1]]), soft=0.008)
    mix(albedo[where], 0.85 * mask, person.lips)
    albedo[upper_where] *= 1 - 0.22 * upper[..., None]
    gloss[where] += 0.10 * mask


def _mouth_inside(mouth: Mouth, frame: Frame, image: np.ndarray, lit: np.ndarray) -> None:
    """Paint what is between the lips: dark, tongue, teeth; and the line where they meet."""
    opening = np.vstack([mouth.upper_inner, mouth.lower_inner[::-1]])
    gap = mouth.gap
    if gap > 0.008:
        mask, where = frame.fill(opening, soft=0.004)
        glow = float(lit[where].mean())
        inside = np.empty((*mask.shape, 3), np.float32)
        inside[:] = linear((88, 34, 32)) * glow * 0.6
        x, y = frame.axes
        x, y = x[:, where[1]], y[where[0]]
        centre = opening.mean(axis=0)
        low, high = opening[:, 1].max(), opening[:, 1].min()
        if gap > 0.10:
            tongue = np.exp(
                -0.5 * (np.square((y - low - 0.02) / (0.30 * gap)) + np.square((x - centre[0]) / 0.12))
            )
            mix(inside, tongue.astype(np.float32), linear((186, 92, 88)) * glow * 0.75)
        # A round mouth hides the teeth that a wide one shows.
        wide = np.clip((mouth.corners[1, 0] - mouth.corners[0, 0]) / 0.45, 0.45, 1.15)
        upper, lower = min(0.075 * wide**1.5, 0.75 * gap), min(0.05 * wide**2, 0.30 * gap) * (wide > 0.9)
        half = (mouth.corners[1, 0] - mouth.corners[0, 0]) / 2
        for lips, down, reach in ((mouth.upper_inner, 1, upper), (mouth.lower_inner, -1, lower)):
            edge = np.interp(x[0], lips[:, 0], lips[:, 1]).astype(np.float32)[None]
            # Teeth stand behind the lips in an arch: they end before the corners and darken towards them.
            level = 0.5 * edge + 0.5 * float(lips[len(lips) // 2, 1])
            depth = (y - level) * down
            arch = np.clip(1 - np.square((x - centre[0]) / (0.86 * half)), 0, 1)
            teeth = np.clip((reach * (0.6 + 0.4 * arch) - depth) * frame.scale + 0.5, 0, 1) * np.clip(
                arch * 4, 0, 1
            )
            between = 1 - 0.22 * np.exp(-np.square(((x - centre[0]) / 0.052 + 0.5) % 1 - 0.5) / 0.006) * (
                frame.scale > 60
            )
            shade = (0.35 + 0.55 * arch) * np.clip(0.55 + (depth + (y - edge) * down) / 0.06, 0.35, 1)
            mix(
                inside,
                teeth.astype(np.float32),
                _WHITE * (glow * shade * between)[..., None].astype(np.float32),
            )
        mix(image[where], mask, inside)
    width = 0.014 if gap < 0.02 else 0.009
    mask, where = frame.stroke([mouth.upper_inner], width, 0.85, soft=0.006)
    mix(image[where], mask, _DARK * 0.8)
    corners = [c + np.array([[0, 0], [s * 0.022, 0.002]]) for s, c in zip(SIDES, mouth.corners, strict=True)]
    mask, where = frame.stroke(corners, 0.02, 0.55, soft=0.012)
    mix(image[where], mask, _DARK)


def _eye(
    person: Person, eye: Eye, frame: Frame, image: np.ndarray, lit: np.ndarray, gaze: tuple[float, float]
) -> None:
    opening = eye.opening
    mask, where = frame.fill(opening, soft=0.004)
    x, y = frame.axes
    x, y = x[:, where[1]], y[where[0]]
    glow = lit[where].mean(axis=(0, 1))
    ball = np.empty((*mask.shape, 3), np.float32)
    across = np.square((x - eye.centre[0]) / 0.17)
    ball[:] = _WHITE * glow * (0.92 - 0.45 * across)[..., None] * np.array([1.0, 0.985, 0.975], np.float32)
    ix, iy = eye.centre[0] + 0.05 * gaze[0], eye.centre[1] - 0.008 + 0.025 * gaze[1]
    distance = np.sqrt(np.square(x - ix) + np.square(y - iy)) / eye.iris_radius
    pixel = 1 / (frame.scale * eye.iris_radius)
    disc = lambda radius: np.clip((radius - distance) / max(pixel, 0.08) + 0.5, 0, 1)  # noqa: E731
    rays = 1 + 0.12 * np.sin(23 * np.arctan2(y - iy, x - ix))
    low = 1 + 0.5 * np.clip((y - iy) / eye.iris_radius, -1, 1)
    iris = person.iris * (glow * 1.15) * (low * rays * (1.1 - 0.5 * np.clip(distance, 0, 1) ** 4))[..., None]
    mix(ball, disc(1.0), iris.astype(np.float32))
    mix(ball, disc(0.42), linear((12, 10, 10)))
    # The upper lid shades the eyeball.
    lid = np.interp(x[0], *_ascending(eye.upper_lid)).astype(np.float32)[None]
    ball *= (1 - 0.6 * np.exp(-np.maximum(y - lid, 0) / 0.018))[..., None]
    spark = np.exp(-(np.square(x - ix + 0.022) + np.square(y - iy + 0.026)) / (2 * 0.0085**2))
    mix(ball, np.minimum(spark, 1).astype(np.float32), np.ones(3, np.float32) * glow.max() * 1.1)
    mix(image[where], mask, ball)
    side = np.sign(eye.centre[0])
    tear = eye.upper_lid[:1] + [[0, 0.004]]
    mask, where = frame.stroke([np.vstack([tear, tear + [[side * 0.016, 0.002]]])], 0.018, 0.6, soft=0.006)
    mix(image[where], mask, person.lips * glow)
    fold = eye.upper_lid + np.column_stack(
        [0 * eye.upper_lid[:, 0], -0.012 - 0.03 * np.sin(np.linspace(0.3, 2.9, 25))]
    )
    mask, where = frame.stroke([fold], 0.013, 0.42, soft=0.006)
    mix(image[where], mask, _DARK + 0.25 * person.skin)
    lash = np.vstack([eye.upper_lid, eye.upper_lid[-1:] + [[side * 0.03, -0.012]]])
    mask, where = frame.stroke([lash], 0.020, 0.55 + 0.45 * person.lashes, soft=0.004)
    mix(image[where], mask, linear((24, 16, 14)))
    mask, where = frame.stroke([eye.lower_lid], 0.010, 0.25 + 0.35 * person.lashes, soft=0.005)
    mix(image[where], mask, _DARK)
    if person.lashes > 0.7 and frame.scale > 60:
        mask, where = frame.stroke(_lashes(eye.upper_lid, side), 0.006, person.lashes, soft=0.002)
        mix(image[where], 0.8 * mask, linear((24, 16, 14)))


def _lashes(lid: np.ndarray, side: float) -> list[np.ndarray]:
    return [
        np.vstack([lid[i], lid[i] + (side * (0.002 + 0.03 * i / len(lid)), -0.028)])
        for i in range(5, len(lid), 2)
    ]


def _ascending(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(curve[:, 0])
    return curve[order, 0], curve[order, 1]


def _nostrils(shape: Geometry, frame: Frame, image: np.ndarray) -> None:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for side, wing in zip(SIDES, shape.nose_wings, strict=True):
        centre = np.array([wing[0] * 0.47, wing[1] + 0.048])
        oval = np.column_stack(
            [0.036 * np.cos(turn), 0.016 * np.sin(turn) - side * 0.2 * 0.036 * np.cos(turn) * -1]
        )
        mask, where = frame.fill(centre + oval, soft=0.009)
        mix(image[where], 0.8 * mask, _DARK * 0.6)
        groove = np.array(
            [wing + (-side * 0.005, -0.055), wing + (side * 0.018, -0.01), wing + (-side * 0.005, 0.045)]
        )
        mask, where = frame.stroke([spline(groove, 10)], 0.014, 0.4, soft=0.01)
        image[where] *= 1 - 0.55 * mask[..., None]


def _glasses(person: Person, shape: Geometry, frame: Frame, image: np.ndarray, light: Light) -> None:
    kind, colour = person.glasses or ("", _DARK)
    turn = np.linspace(0, 2 * np.pi, 60)
    power = 2.0 if kind == "round" else 4.0
    rims, width = [], 0.235 if kind == "round" else 0.25
    for eye in shape.eyes:
        c, s = np.cos(turn), np.sin(turn)
        ring = np.column_stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)])
        rims.append(eye.centre + ring * (width, 0.19 if kind == "round" else 0.165) + (0, 0.035))
    inner = abs(shape.eyes[1].centre[0]) - width
    bridge = spline(np.array([(-inner, 0.01), (0, -0.03), (inner, 0.01)]), 12)
    edge = abs(shape.eyes[1].centre[0]) + width
    temples = [np.array([(s * edge, -0.02), (s * 0.72 * person.proportions.width, -0.03)]) for s in SIDES]
    for rim in rims:
        lens, where = frame.fill(rim)
        image[where] *= 1 - 0.05 * lens[..., None]
        streak = [np.array([rim.mean(axis=0) + (-0.12, 0.09), rim.mean(axis=0) + (0.0, -0.14)])]
        shine, at = frame.stroke(streak, 0.05, 0.10, soft=0.012)
        image[at] += shine[..., None] * light.colour * 0.35
    lines = [*rims, bridge, *temples]
    shadow, where = frame.stroke([line + (0, 0.03) for line in lines], 0.028, 0.3, soft=0.014)
    image[where] *= 1 - shadow[..., None]
    mask, where = frame.stroke(lines, 0.026, 1.0, soft=0.003)
    mix(image[where], mask, colour * (0.6 * light.colour + light.ambient))
    glint, where = frame.stroke([line - (0, 0.006) for line in lines], 0.007, 0.3, soft=0.003)
    image[where] += glint[..., None] * light.colour * 0.4
