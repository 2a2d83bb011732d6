"""Render a head: skin, eyes, brows, mouth, beard and glasses over the relief of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sample.drawing import features, hair
from pipeline.sample.drawing.beard import beard
from pipeline.sample.drawing.canvas import Frame, Light, blur, noise, paint, relief_normals, rgb
from pipeline.sample.drawing.creases import creases
from pipeline.sample.drawing.expression import ActionUnits
from pipeline.sample.drawing.geometry import SIDES, Geometry, geometry, spline
from pipeline.sample.drawing.person import Person
from pipeline.sample.drawing.relief import relief

# Distance that light reaches around an edge of skin. Red reaches furthest.
_SKIN_WRAP = (0.34, 0.22, 0.17)


@dataclass(frozen=True)
class Head:
    """A rendered head.

    Attributes:
        frame: of the pixels.
        front: (h, w, 4) linear light times coverage, and coverage.
        back: the same for hair behind the neck, or None.
        height: (h, w) units towards the viewer, needed to turn the head.
    """

    frame: Frame
    front: np.ndarray
    back: np.ndarray | None
    height: np.ndarray


def render_head(
    person: Person, units: ActionUnits, gaze: tuple[float, float], light: Light, scale: float
) -> Head:
    """Return a head that shows the action units.

    Args:
        person: the identity.
        units: of the expression.
        gaze: direction of the eyes, -1 to 1 right and down.
        light: in the axes of the head.
        scale: pixels per unit.
    """
    frame = Frame(-1.08, -1.55, 2.16, 3.35 if person.style == "long" else 3.05, scale)
    rng = np.random.default_rng(person.texture)
    shape = geometry(person.proportions, units)
    height = relief(person, shape, creases(shape, units, person.age), frame)
    head, region = frame.fill(shape.outline, soft=0.5 / scale)
    cover = np.zeros(frame.shape, np.float32)
    cover[region] = head
    if not hair.covers_ears(person):
        _ears(person, shape, frame, height, cover)
    albedo, gloss = _skin(person, shape, frame, rng)
    features.lips(person, shape.mouth, frame, albedo, gloss)
    hair.brows(person, shape, frame, albedo, rng)
    beard(person, shape, frame, albedo, gloss, rng)
    normals = relief_normals(blur(height, 0.6), scale)
    hollow = np.clip((blur(height, 0.07 * scale) - height) * 5.0, -0.12, 0.5)
    lit = light.on(normals, _SKIN_WRAP, 1 - hollow)
    image = albedo * lit + rgb(gloss * light.gloss(normals, 18), light.colour)
    for eye in shape.eyes:
        features.eye(person, eye, frame, image, lit, gaze)
    features.mouth(shape.mouth, frame, image, lit)
    features.nostrils(shape, frame, image)
    back = hair.grow(person, shape, frame, image, cover, height, light, rng)
    _glasses(person, shape, frame, image, light)
    return Head(frame, cv2.merge([*cv2.split(image * rgb(cover)), cover]), back, height)


def _ears(person: Person, shape: Geometry, frame: Frame, height: np.ndarray, cover: np.ndarray) -> None:
    right = np.array(
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
    for side in SIDES:
        ear = (spline(right, 40) + (0.695 * person.proportions.width, 0.10)) * (side, 1)
        mask, region = frame.fill(ear, soft=0.5 / frame.scale)
        rim, rim_region = frame.stroke([ear[:34] * (0.985, 1)], 0.03, soft=0.012)
        height[region] += 0.12 * np.maximum(mask - cover[region], 0)
        height[rim_region] += 0.035 * rim * (cover[rim_region] < 0.5)
        cover[region] = np.maximum(cover[region], mask)


def _skin(
    person: Person, shape: Geometry, frame: Frame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour (h, w, 3) and the gloss (h, w) of the skin."""
    scale, hill = frame.scale, frame.hill
    nose = shape.nose_tip[1]
    red = hill(0, nose + 0.01, 0.11, 0.07, 0.55)
    dark = np.zeros(frame.shape, np.float32)
    for side, eye, cheek in zip(SIDES, shape.eyes, shape.cheek_raise, strict=True):
        red += hill(side * 0.42, 0.33, 0.17, 0.14, 0.8 + 0.3 * cheek)
        dark += hill(eye.centre[0] - side * 0.02, 0.09, 0.13, 0.06, 0.22)
        dark += hill(eye.centre[0], -0.06, 0.14, 0.05, 0.2)
    mottled = noise(rng, frame.shape, 0.22 * scale) * 0.022 + noise(rng, frame.shape, 0.05 * scale) * 0.014
    grain = noise(rng, frame.shape, max(1.2, 0.012 * scale)) * 0.018
    tone = (1 + mottled + grain) * (1 - dark)
    blush = np.minimum(person.blush * red, 1)
    shifts = (0.06, -0.20, -0.18)
    albedo = cv2.merge([tone * (1 + s * blush) * float(c) for c, s in zip(person.skin, shifts, strict=True)])
    if person.freckles:
        spots = np.clip(noise(rng, frame.shape, max(1.5, 0.022 * scale)) - 1.5, 0, 1) * np.minimum(red, 1)
        albedo *= 1 - rgb(person.freckles * spots, np.array([0.3, 0.4, 0.5]))
    gloss = 0.05 + hill(0, -0.45, 0.3, 0.2, 0.07) + hill(0, nose - 0.03, 0.06, 0.12, 0.07)
    for side in SIDES:
        gloss += hill(side * 0.4, 0.24, 0.13, 0.09, 0.04)
    return albedo, gloss


def _glasses(person: Person, shape: Geometry, frame: Frame, image: np.ndarray, light: Light) -> None:
    if person.glasses is None:
        return
    kind, colour = person.glasses
    # Rims are superellipses.
    half_width, half_height, power = (0.235, 0.19, 2.0) if kind == "round" else (0.25, 0.165, 4.0)
    turn = np.linspace(0, 2 * np.pi, 60)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    rim = np.sign(circle) * np.abs(circle) ** (2 / power) * (half_width, half_height) + (0, 0.035)
    rims = [eye.centre + rim for eye in shape.eyes]
    eye_x, temple = abs(shape.eyes[1].centre[0]), 0.72 * person.proportions.width
    bridge = spline(np.array([(-1, 0.01), (0, -0.03), (1, 0.01)]) * (eye_x - half_width, 1), 12)
    temples = [np.array([(side * (eye_x + half_width), -0.02), (side * temple, -0.03)]) for side in SIDES]
    for outline in rims:
        lens, region = frame.fill(outline)
        image[region] *= rgb(1 - 0.05 * lens)
        middle = outline.mean(axis=0)
        streak, region = frame.stroke([middle + [(-0.12, 0.09), (0.0, -0.14)]], 0.05, 0.035, soft=0.012)
        image[region] += rgb(streak, light.colour)
    lines = [*rims, bridge, *temples]
    shadow, region = frame.stroke([line + (0, 0.03) for line in lines], 0.028, 0.3, soft=0.014)
    image[region] *= rgb(1 - shadow)
    mask, region = frame.stroke(lines, 0.026, soft=0.003)
    paint(image[region], mask, colour * (0.6 * light.colour + light.ambient))
    glint, region = frame.stroke([line - (0, 0.006) for line in lines], 0.007, 0.12, soft=0.003)
    image[region] += rgb(glint, light.colour)
