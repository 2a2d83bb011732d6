"""Stubble, beard and moustache."""

from __future__ import annotations

import numpy as np

from pipeline.sample.drawing.canvas import Frame, noise, paint, rgb
from pipeline.sample.drawing.geometry import Geometry, spline
from pipeline.sample.drawing.person import Person

# A weaker beard is stubble, which also grows around the lips.
_STUBBLE = 0.3


def beard(
    person: Person,
    shape: Geometry,
    frame: Frame,
    albedo: np.ndarray,
    gloss: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Darken the jaw and the upper lip, but not the lips, in place."""
    if not (person.beard or person.moustache):
        return
    stubble = person.beard < _STUBBLE
    areas = [(_jaw(shape), person.beard, 0.035)]
    areas.append((_upper_lip(shape), 0.8 * person.beard if stubble else person.moustache, 0.016))
    if stubble:
        areas.append((_chin(shape), 0.7 * person.beard, 0.03))
    cover = np.zeros(frame.shape, np.float32)
    for outline, strength, soft in areas:
        mask, region = frame.fill(outline, soft)
        cover[region] = np.maximum(cover[region], strength * mask)
    curl = noise(rng, frame.shape, max(1.3, 0.016 * frame.scale))
    cover *= np.clip(0.90 + 0.12 * curl, 0, 1)
    paint(albedo, cover, rgb(0.95 + 0.14 * curl, person.hair))
    gloss *= 1 - 0.8 * cover


def _jaw(shape: Geometry) -> np.ndarray:
    """Return the outline of cheeks, jaw and chin from one sideburn to the other, around the mouth."""
    left, right = shape.mouth.corners
    jaw = shape.outline[shape.outline[:, 1] > 0.05]
    jaw = 1.02 * jaw[np.argsort(np.arctan2(jaw[:, 1] - 0.05, jaw[:, 0]))]
    under = (left + right) / 2 + (0, 0.155 + 0.75 * shape.jaw_drop)
    before = [(-0.60, 0.05), (-0.52, 0.42), left - (0.09, 0), left + (-0.02, 0.09)]
    after = [right + (0.02, 0.09), right + (0.09, 0), (0.52, 0.42), (0.60, 0.05)]
    return np.vstack([jaw, spline(np.array([*before, under, *after]), 60)])


def _upper_lip(shape: Geometry) -> np.ndarray:
    lip = shape.mouth.upper_outer
    left, right = shape.mouth.corners
    middle = ((left[0] + right[0]) / 2, lip[len(lip) // 2, 1] - 0.075)
    arch = [
        left + (-0.06, 0.03),
        left + (0.08, -0.095),
        middle,
        right + (-0.08, -0.095),
        right + (0.06, 0.03),
    ]
    return np.vstack([spline(np.array(arch), 30), lip[::-1] - (0, 0.014)])


def _chin(shape: Geometry) -> np.ndarray:
    lip = shape.mouth.lower_outer
    return np.vstack([lip + (0, 0.02), (lip * (0.5, 1) + (0, 0.2))[::-1]])
