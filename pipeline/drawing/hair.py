"""Hair, brows and beard."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.drawing.canvas import Frame, Light, blur, mix, noise, relief_normals, spread
from pipeline.drawing.expression import SIDES, Geometry, spline
from pipeline.drawing.person import Person

# Styles that cover the ears.
OVER_EARS = ("fringe", "bob", "long")

_WRAP = (0.3, 0.3, 0.3)


def brows(
    person: Person, shape: Geometry, frame: Frame, albedo: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint the brows hair by hair over a soft ground."""
    thick = 0.040 * person.proportions.brow_thickness
    for side, line in zip(SIDES, shape.brows, strict=True):
        taper = np.interp(np.linspace(0, 1, len(line)), [0, 0.25, 0.6, 1], [0.8, 1.0, 0.8, 0.15])[:, None]
        outline = np.vstack([line - (0, thick) * taper, (line + (0, 0.75 * thick) * taper)[::-1]])
        ground, where = frame.fill(outline, soft=0.010)
        mix(albedo[where], 0.66 * ground, person.brows)
        strands = []
        for _ in range(46):
            at = rng.integers(0, len(line) - 3)
            start = line[at] + (0, rng.uniform(-0.9, 0.75) * thick * taper[at, 0])
            lean = np.interp(at, [0, 10, len(line)], [0.25, 0.8, 1.0])
            end = start + np.array([side * 0.05 * lean, -0.045 * (1 - lean) - 0.004 + 0.012 * (at > 14)])
            strands.append(np.vstack([start, end]))
        fine, where = frame.stroke(strands, 0.009, 0.75, soft=0.003)
        mix(albedo[where], fine, person.brows * 0.7)


def beard(
    person: Person,
    shape: Geometry,
    frame: Frame,
    albedo: np.ndarray,
    gloss: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Darken jaw and upper lip by stubble or a full beard; the lips stay free."""
    if not (person.beard or person.moustache):
        return
    mouth, outline = shape.mouth, shape.outline
    left, right = mouth.corners
    jaw = outline[outline[:, 1] > 0.05]
    jaw = jaw[np.argsort(np.arctan2(jaw[:, 1] - 0.05, jaw[:, 0]))] * (1.02, 1.02)
    inner = spline(
        np.array(
            [
                (-0.60, 0.05),
                (-0.52, 0.42),
                left - (0.09, 0.0),
                left + (-0.02, 0.09),
                ((left + right) / 2)[0:2] + (0, 0.155 + 0.75 * shape.jaw_drop),
                right + (0.02, 0.09),
                right + (0.09, 0.0),
                (0.52, 0.42),
                (0.60, 0.05),
            ]
        ),
        60,
    )
    cover = np.zeros(frame.shape, np.float32)
    mask, where = frame.fill(np.vstack([jaw, inner]), soft=0.035)
    cover[where] = mask * person.beard
    lip = np.vstack(
        [
            spline(
                np.array(
                    [
                        left + (-0.06, 0.03),
                        left + (0.08, -0.095),
                        ((left + right) / 2) * (1, 0) + (0, mouth.upper_outer[20, 1] - 0.075),
                        right + (-0.08, -0.095),
                        right + (0.06, 0.03),
                    ]
                ),
                30,
            ),
            mouth.upper_outer[::-1] - (0, 0.014),
        ]
    )
    mask, where = frame.fill(lip, soft=0.016)
    cover[where] = np.maximum(
        cover[where], mask * max(person.moustache, 0.8 * person.beard if person.beard < 0.3 else 0)
    )
    chin = np.vstack([mouth.lower_outer + (0, 0.02), (mouth.lower_outer * (0.5, 1) + (0, 0.2))[::-1]])
    mask, where = frame.fill(chin, soft=0.03)
    cover[where] = np.maximum(cover[where], 0.7 * person.beard * mask * (person.beard < 0.3))
    curl = noise(rng, frame.shape, max(1.3, 0.016 * frame.scale))
    cover *= np.clip(0.86 + 0.22 * curl, 0, 1)
    mix(albedo, cover, spread(0.9 + 0.25 * curl, person.hair))
    gloss *= 1 - 0.8 * cover


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
        The hair that hangs behind the neck, if any: (h, w, 4) linear light times coverage, and coverage.
    """
    if person.style == "bald":
        return None
    outer, window, behind = _cut(person, shape, rng)
    mask = np.zeros(frame.shape, np.float32)
    ragged = 0.004 if person.style != "curly" else 0.012
    solid, where = frame.fill(outer, soft=ragged)
    mask[where] = solid
    for hole in window:
        face, where = frame.fill(
            hole, soft=0.014 if person.style in ("fringe", "bob", "long", "bun") else 0.022
        )
        mask[where] *= 1 - face
    strands = _strands(person, frame, rng)
    # The edge of hair is made of strands, not of a line.
    mask = np.clip(mask * (1 + 0.9 * (1 - mask) * strands), 0, 1)
    if person.style in ("crop", "receding"):
        mask *= 0.82 + 0.12 * np.clip(strands, -1, 1)
    body = blur(mask, 0.06 * frame.scale)
    relief = 0.30 * np.sqrt(np.maximum(body, 0)) + 0.012 * strands * mask
    normals = relief_normals(np.maximum(height, relief) + 0.05 * body, frame.scale)
    colour = spread(np.maximum(1 + 0.30 * strands, 0), person.hair)
    shine = light.gloss(normals, 10) * (0.35 + 0.3 * strands)
    lit = colour * light.on(normals, _WRAP) + spread(
        np.maximum(shine, 0), light.colour * (0.02 + 0.25 * person.hair)
    )
    shadow = blur(mask, 0.05 * frame.scale)
    image *= spread(1 - 0.45 * shadow * (1 - mask))
    # Outside the head there is no skin for the hair's soft edge to let through.
    mix(image, np.maximum(mask, 1 - cover), lit)
    np.maximum(cover, mask, out=cover)
    np.maximum(height, 0.35 * body, out=height)
    if behind is None:
        return None
    back = np.zeros((*frame.shape, 4), np.float32)
    solid, where = frame.fill(behind, soft=0.012)
    back[where] = np.dstack([lit[where] * spread(0.62 * solid), solid])
    return back


def _cut(
    person: Person, shape: Geometry, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
    """Return the outline of the hair, the outlines of the skin that it leaves free, and of the hair behind the neck."""
    style, w = person.style, person.proportions.width
    volume = {"crop": 0.025, "receding": 0.03, "curly": person.volume + 0.08, "bun": 0.05}.get(
        style, person.volume
    )
    crown = shape.outline[shape.outline[:, 1] < 0.0]
    crown = crown[np.argsort(np.arctan2(crown[:, 0], -crown[:, 1]))]
    lift = np.clip((0.1 - crown[:, 1]) / 1.1, 0, 1)
    swell = volume * (0.45 + 0.55 * lift)
    if style == "curly":
        swell = swell + 0.025 * np.sin(np.linspace(0, 40, len(crown)) + rng.uniform(0, 6)) + 0.05
    if style == "side":
        swell = swell + 0.05 * lift * np.clip(-np.sign(person.parting) * crown[:, 0] / 0.6, 0, 1)
    away = crown - (0, -0.25)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    top = crown + away * swell[:, None]
    x, y = top[-1]
    down = {"bob": 0.80, "long": 1.55, "fringe": 0.85}.get(style, 0.10)
    if down > 0.2:
        full = 0.06 if style == "bob" else 0.03
        sides = [
            (x + full, 0.3),
            (x + full, 0.6 * down),
            (x - 0.01, down),
            (0.62 * w, down + 0.03),
            (0.50 * w, down),
        ]
        hang = spline(np.array([(x, y), *sides]), 24)
    else:
        hang = np.array([(x, y + 0.02), (0.69 * w, 0.16), (0.62 * w, 0.18)])
    outer = np.vstack([top, hang[1:], hang[::-1][:-1] * (-1, 1)])
    line = {"receding": -0.86, "fringe": -0.34, "crop": -0.74, "bun": -0.80}.get(style, -0.72)
    temple = 0.60 * w if down < 0.2 else 0.545 * w
    side_y = -0.02 if down < 0.2 else 0.45
    s = np.sign(person.parting)
    if style in ("side", "bob", "long"):
        # Parted hair: it starts high at the parting and falls across the forehead on the other side.
        edge = np.array(
            [
                (-s * temple, -0.30),
                (-s * 0.36, -0.52),
                (0.0, -0.66),
                (s * 0.30, -0.80),
                (s * 0.50, -0.62),
                (s * temple, -0.30),
            ]
        )
    elif style == "fringe":
        edge = np.array([(-temple, -0.22), (-0.35, line), (0.0, line - 0.02), (0.35, line), (temple, -0.22)])
    elif style == "receding":
        edge = np.array(
            [(-temple, -0.30), (-0.44, -0.84), (0.0, line + 0.12), (0.44, -0.84), (temple, -0.30)]
        )
    else:
        edge = np.array(
            [(-temple, -0.26), (-0.50, -0.58), (-0.25, line), (0.25, line), (0.50, -0.58), (temple, -0.26)]
        )
    edge = spline(edge, 40)
    edge = edge[np.argsort(edge[:, 0])] if style == "fringe" else (edge if edge[0, 0] < 0 else edge[::-1])
    if style in ("fringe", "short", "curly", "crop"):
        edge = edge + np.column_stack([0 * edge[:, 0], rng.normal(0, 0.012, len(edge))])
    lower = [
        (temple * 1.02, side_y),
        (temple * 1.02 + 0.05 * (down < 0.2), 0.30),
        (0.50 * w, 1.9),
        (-0.50 * w, 1.9),
        (-temple * 1.02 - 0.05 * (down < 0.2), 0.30),
        (-temple * 1.02, side_y),
    ]
    window = [np.vstack([edge, np.array(lower)])]
    behind = None
    if style in ("long", "bob", "fringe"):
        end = 1.78 if style == "long" else down + 0.08
        half = spline(
            np.array([(0.0, -1.0), (0.60, -0.9), (0.82, 0.0), (0.86, 0.7), (0.84, end - 0.1), (0.55, end)]),
            40,
        )
        behind = np.vstack([half, half[::-1] * (-1, 1)])
    return outer, window, behind


def _strands(person: Person, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return noise drawn out along the hair, about unit deviation: from the crown or the parting outwards."""
    x, y = frame.axes
    rows, columns = frame.shape
    if person.style == "curly":
        return 0.8 * noise(rng, frame.shape, 0.05 * frame.scale) + 0.5 * noise(
            rng, frame.shape, 0.025 * frame.scale
        )
    origin = person.parting * 0.5 if person.style in ("side", "bob", "long") else 0.0
    gx = np.broadcast_to(x - origin, (rows, columns)).copy()
    gy = np.broadcast_to((y + 1.22) * 0.75, (rows, columns)).copy()
    distance, direction = cv2.cartToPolar(gx, gy)
    table = 0.75 * rng.standard_normal((6, 240), np.float32)
    table += cv2.resize(rng.standard_normal((6, 60), np.float32), (240, 6))
    table = np.hstack([table, table[:, :2]]) * 0.7
    strands = cv2.remap(
        table, (direction * (240 / (2 * np.pi))).astype(np.float32), (distance * 2.0).astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    # Where strands meet they are too fine to be seen one by one.
    return strands * np.clip(distance * 2.2 - 0.1, 0, 1)
