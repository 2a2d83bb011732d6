"""Paint the hair of the head and the brows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sample.drawing.canvas import Frame, Light, blur, noise, paint, relief_normals, rgb
from pipeline.sample.drawing.geometry import SIDES, Geometry, spline
from pipeline.sample.drawing.person import Person

_WRAP = (0.3, 0.3, 0.3)


@dataclass(frozen=True)
class _Cut:
    """A hair style. Lengths are units."""

    hairline: float = -0.72  # y of the edge on the forehead
    volume: float | None = None  # thickness over the skull; None: from the person
    full: float = 0.0  # added to the volume
    down: float = 0.10  # y of its lower end at the sides
    parted: bool = False  # falls from a parting across the forehead
    ragged: float = 0.012  # unevenness of the edge on the forehead
    cover: float = 1.0  # 1: no skin shows through

    @property
    def hangs(self) -> bool:
        """Whether it covers the ears."""
        return self.down > 0.2


_CUTS = {
    "short": _Cut(),
    "side": _Cut(parted=True, ragged=0),
    "crop": _Cut(hairline=-0.74, volume=0.025, cover=0.85),
    "curly": _Cut(full=0.13),
    "fringe": _Cut(hairline=-0.39, down=0.85),
    "bob": _Cut(parted=True, down=0.80, ragged=0),
    "long": _Cut(parted=True, down=1.55, ragged=0),
    "bun": _Cut(hairline=-0.80, volume=0.05, ragged=0),
    "receding": _Cut(hairline=-0.74, volume=0.03, ragged=0, cover=0.85),
}


def covers_ears(person: Person) -> bool:
    """Return whether the hair hangs over the ears."""
    return person.style in _CUTS and _CUTS[person.style].hangs


def brows(
    person: Person, shape: Geometry, frame: Frame, albedo: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint the brows: single hairs over a soft ground, in place."""
    thick = 0.040 * person.proportions.brow_thickness
    for side, line in zip(SIDES, shape.brows, strict=True):
        taper = np.interp(np.linspace(0, 1, len(line)), [0, 0.25, 0.6, 1], [0.8, 1.0, 0.8, 0.15])[:, None]
        outline = np.vstack([line - (0, thick) * taper, (line + (0, 0.75 * thick) * taper)[::-1]])
        ground, region = frame.fill(outline, soft=0.010)
        paint(albedo[region], 0.8 * ground, person.brows)
        strands = []
        for _ in range(46):
            at = rng.integers(0, len(line) - 3)
            start = line[at] + (0, rng.uniform(-0.9, 0.75) * thick * taper[at, 0])
            lean = np.interp(at, [0, 10, len(line)], [0.25, 0.8, 1.0])
            end = start + np.array([side * 0.05 * lean, -0.045 * (1 - lean) - 0.004 + 0.012 * (at > 14)])
            strands.append(np.vstack([start, end]))
        fine, region = frame.stroke(strands, 0.009, 0.75, soft=0.003)
        paint(albedo[region], fine, person.brows * 0.7)


def grow(
    person: Person,
    shape: Geometry,
    frame: Frame,
    image: np.ndarray,
    cover: np.ndarray,
    height: np.ndarray,
    light: Light,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Paint the hair of the head over image, cover and height, in place.

    Returns:
        The hair behind the neck: (h, w, 4) linear light times coverage, and coverage. None for shorter hair.
    """
    if person.style not in _CUTS:
        return None
    cut = _CUTS[person.style]
    mask = np.zeros(frame.shape, np.float32)
    solid, region = frame.fill(_outer(cut, person, shape, rng), soft=0.005)
    mask[region] = solid
    face, region = frame.fill(_face(cut, person, rng), soft=0.014 if cut.hangs else 0.02)
    mask[region] *= 1 - face
    strands = _strands(cut, person, frame, rng)
    # The edge of hair consists of strands.
    mask = np.clip(mask * (1 + 0.9 * (1 - mask) * strands), 0, 1)
    mask *= cut.cover + (1 - cut.cover) * np.clip(strands, -1, 1)
    body = blur(mask, 0.06 * frame.scale)
    relief = 0.30 * np.sqrt(np.maximum(body, 0)) + 0.012 * strands * mask
    normals = relief_normals(np.maximum(height, relief) + 0.05 * body, frame.scale)
    colour = rgb(np.maximum(1 + 0.30 * strands, 0), person.hair)
    shine = light.gloss(normals, 10) * (0.35 + 0.3 * strands)
    lit = colour * light.on(normals, _WRAP) + rgb(
        np.maximum(shine, 0), light.colour * (0.02 + 0.25 * person.hair)
    )
    shadow = blur(mask, 0.05 * frame.scale)
    image *= rgb(1 - 0.45 * shadow * (1 - mask))
    # Outside the head no skin shows through the soft edge of the hair.
    paint(image, np.maximum(mask, 1 - cover), lit)
    np.maximum(cover, mask, out=cover)
    np.maximum(height, 0.35 * body, out=height)
    if not cut.hangs:
        return None
    back = np.zeros((*frame.shape, 4), np.float32)
    solid, region = frame.fill(_behind(cut), soft=0.012)
    back[region] = np.dstack([lit[region] * rgb(0.62 * solid), solid])
    return back


def _outer(cut: _Cut, person: Person, shape: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Return the outer outline of the hair: the skull, enlarged by the volume of the hair."""
    crown = shape.outline[shape.outline[:, 1] < 0.0]
    crown = crown[np.argsort(np.arctan2(crown[:, 0], -crown[:, 1]))]
    height = np.clip((0.1 - crown[:, 1]) / 1.1, 0, 1)
    volume = (person.volume if cut.volume is None else cut.volume) + cut.full
    swell = volume * (0.45 + 0.55 * height)
    if person.style == "curly":
        swell += 0.025 * np.sin(np.linspace(0, 40, len(crown)) + rng.uniform(0, 6))
    if person.style == "side":
        swell += 0.05 * height * np.clip(-np.sign(person.parting) * crown[:, 0] / 0.6, 0, 1)
    away = crown - (0, -0.25)
    top = crown + away * (swell / np.linalg.norm(away, axis=1))[:, None]
    x, y = top[-1]
    width, down = person.proportions.width, cut.down
    if cut.hangs:
        fall = [(x, y), (x + 0.04, 0.3), (x + 0.04, 0.6 * down), (x - 0.01, down)]
        side = spline(np.array([*fall, (0.62 * width, down + 0.03), (0.50 * width, down)]), 24)[1:]
    else:
        side = np.array([(0.69 * width, 0.16), (0.62 * width, 0.18)])
    return np.vstack([top, side, side[::-1] * (-1, 1)])


def _face(cut: _Cut, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Return the outline of the face and the neck, which the hair leaves free."""
    width, line = person.proportions.width, cut.hairline
    temple = (0.545 if cut.hangs else 0.60) * width
    if cut.parted:
        edge = [(-temple, -0.30), (-0.36, -0.52), (0.0, -0.66), (0.30, -0.80), (0.50, -0.62), (temple, -0.30)]
    elif cut.hangs:
        edge = [(-temple, -0.22), (-0.35, line), (0.0, line - 0.02), (0.35, line), (temple, -0.22)]
    elif person.style == "receding":
        edge = [(-temple, -0.30), (-0.44, line - 0.10), (0.0, line), (0.44, line - 0.10), (temple, -0.30)]
    else:
        edge = [(-temple, -0.26), (-0.5, -0.58), (-0.25, line), (0.25, line), (0.5, -0.58), (temple, -0.26)]
    curve = spline(np.array(edge), 40)
    if cut.parted and person.parting < 0:
        curve = curve[::-1] * (-1, 1)
    curve[:, 1] += rng.normal(0, cut.ragged, len(curve))
    cheek = (temple, 0.45) if cut.hangs else (temple, -0.02)
    right = np.array([cheek, (temple + (0.0 if cut.hangs else 0.05), 0.30), (0.50 * width, 1.9)])
    return np.vstack([curve, right, right[::-1] * (-1, 1)])


def _behind(cut: _Cut) -> np.ndarray:
    """Return the outline of the hair behind the neck."""
    end = cut.down + (0.23 if cut.down > 1 else 0.08)
    right = [(0.0, -1.0), (0.60, -0.9), (0.82, 0.0), (0.86, 0.7), (0.84, end - 0.1), (0.55, end)]
    half = spline(np.array(right), 40)
    return np.vstack([half, half[::-1] * (-1, 1)])


def _strands(cut: _Cut, person: Person, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return noise with a deviation of about 1, stretched along the hair from the crown or the parting."""
    x, y = frame.axes
    if person.style == "curly":
        wide, fine = (noise(rng, frame.shape, cell * frame.scale) for cell in (0.05, 0.025))
        return 0.8 * wide + 0.5 * fine
    origin = 0.5 * person.parting if cut.parted else 0.0
    across, below = np.broadcast_arrays(x - origin, (y + 1.22) * 0.75)
    distance, direction = cv2.cartToPolar(across.copy(), below.copy())
    table = 0.75 * rng.standard_normal((6, 240), np.float32)
    table += cv2.resize(rng.standard_normal((6, 60), np.float32), (240, 6))
    table = np.hstack([table, table[:, :2]]) * 0.7
    strands = cv2.remap(
        table, (direction * (240 / (2 * np.pi))).astype(np.float32), (distance * 2.0).astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    # Near the origin single strands are too fine to be visible.
    return strands * np.clip(distance * 2.2 - 0.1, 0, 1)
