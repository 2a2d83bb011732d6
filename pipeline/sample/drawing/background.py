"""Backgrounds and images without a face: rooms, landscapes, textures, things."""

from __future__ import annotations

import math

import numpy as np

from pipeline.sample.drawing.canvas import Frame, blur, linear, noise, paint, relief_normals, rgb, towards

Shape = tuple[int, int]
_LIGHT = np.array([-0.45, -0.6, 0.66])


def background(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a random background, (h, w, 3) linear light, out of focus to a random degree."""
    kinds = [studio, wall, room, landscape, lights, stripes, foliage]
    image = kinds[rng.choice(len(kinds), p=[0.2, 0.13, 0.25, 0.2, 0.1, 0.06, 0.06])](rng, shape)
    return blur(image, max(shape) * rng.uniform(0.001, 0.018))


def faceless(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a random image without a face, (h, w, 3) linear light."""
    kinds = [wall, room, landscape, lights, stripes, foliage, bricks, page]
    image = kinds[rng.integers(len(kinds))](rng, shape)
    if rng.random() < 0.6:
        for _ in range(rng.integers(1, 5)):
            _thing(rng, image)
    return image


def studio(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a backdrop that is brighter around a point."""
    y, x = _grid(shape)
    spot = np.exp(
        -(np.square(x - rng.uniform(0.2, 0.8)) + np.square(y - rng.uniform(0.1, 0.7)))
        / rng.uniform(0.15, 0.7)
    )
    image = rgb(0.45 + 0.75 * spot, _colour(rng, 0.05, 0.5))
    return _mottle(rng, image, 0.25, 0.05)


def wall(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a plastered or cloudy surface under slanting light."""
    y, x = _grid(shape)
    angle = rng.uniform(0, 2 * np.pi)
    slant = 1 + 0.5 * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5))
    image = rgb(slant, _colour(rng, 0.1, 0.7))
    for cell, strength in ((0.4, 0.18), (0.1, 0.08), (0.02, 0.06)):
        image = _mottle(rng, image, cell, strength * rng.uniform(0.3, 1.3))
    return image


def room(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a wall with a floor, windows, images and shelves."""
    image = wall(rng, shape)
    rows, columns = shape
    if rng.random() < 0.6:
        floor = int(rows * rng.uniform(0.7, 0.95))
        image[floor:] = _colour(rng, 0.05, 0.4)
        image[floor : floor + max(1, rows // 60)] *= 0.5
    for _ in range(rng.integers(1, 4)):
        w, h = rng.uniform(0.15, 0.45), rng.uniform(0.15, 0.5)
        x, y = rng.uniform(-0.1, 0.95 - w / 2), rng.uniform(-0.1, 0.75 - h / 2)
        kind = rng.integers(3)
        _box(image, x - 0.012, y - 0.012, w + 0.024, h + 0.024, _colour(rng, 0.02, 0.5))
        if kind == 0:  # window
            _box(image, x, y, w, h, linear((205, 224, 240)) * rng.uniform(0.8, 1.3))
            _box(image, x + w / 2 - 0.006, y, 0.012, h, linear((225, 220, 214)))
        elif kind == 1:  # image: a small landscape
            _box(image, x, y, w, h, _colour(rng, 0.2, 0.7))
            _box(image, x, y + h * 0.6, w, h * 0.4, _colour(rng, 0.05, 0.4))
        else:  # shelf of books
            left = x
            while left < x + w - 0.01:
                thick = rng.uniform(0.012, 0.035)
                tall = h * rng.uniform(0.6, 0.95)
                _box(image, left, y + h - tall, min(thick, x + w - left), tall, _colour(rng, 0.03, 0.5))
                left += thick + 0.003
    return _mottle(rng, image, 0.02, 0.03)


def landscape(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return sky, hills, trees and ground."""
    y, x = _grid(shape)
    zenith, haze = linear((96, 146, 206)), linear((222, 228, 232))
    image = rgb(1 - y, zenith) + rgb(y, haze)
    image *= rng.uniform(0.5, 1.2)
    cloud = np.clip(noise(rng, shape, 0.25 * shape[1]) + 0.6 * noise(rng, shape, 0.08 * shape[1]) - 0.5, 0, 1)
    paint(image, 0.7 * cloud, np.full(3, 0.85, np.float32))
    horizon = rng.uniform(0.35, 0.75)
    for layer in range(3):
        ridge = horizon + 0.09 * layer + 0.06 * noise(rng, (2, shape[1]), 0.3 * shape[1])[0]
        mask = np.clip((y - ridge[None]) * shape[0], 0, 1)
        green = linear((70 - 12 * layer, 104 - 10 * layer, 66 - 12 * layer)) * rng.uniform(0.6, 1.6)
        paint(image, mask, green + haze * (0.25 - 0.1 * layer))
    for _ in range(rng.integers(0, 7)):
        cx, cy, r = rng.uniform(0, 1), horizon + rng.uniform(-0.1, 0.15), rng.uniform(0.04, 0.16)
        crown = np.clip(
            1.3 - np.hypot((x - cx), (y - cy) * 1.2) / r + 0.25 * noise(rng, shape, 0.03 * shape[1]), 0, 1
        )
        paint(image, np.minimum(crown * 3, 1), linear((52, 84, 44)) * rng.uniform(0.3, 1.4))
    return _mottle(rng, image, 0.03, 0.05)


def lights(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return lamps that are far out of focus."""
    image = rgb(np.ones(shape, np.float32), _colour(rng, 0.01, 0.12))
    frame = Frame(0, 0, 1, shape[0] / shape[1], shape[1])
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    for _ in range(rng.integers(8, 30)):
        centre = rng.uniform(0, 1, 2) * (1, shape[0] / shape[1])
        disc, region = frame.fill(centre + circle * rng.uniform(0.015, 0.07), soft=1 / shape[1])
        if disc.size:
            image[region] += rgb(disc, _colour(rng, 0.1, 0.9) * rng.uniform(0.2, 0.8))
    return np.minimum(image, 1.2)


def stripes(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return wallpaper, tiles or planks."""
    y, x = _grid(shape)
    angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
    count = rng.uniform(4, 22)
    across = count * (x * math.cos(angle) + y * math.sin(angle))
    along = count * (y * math.cos(angle) - x * math.sin(angle)) * float(rng.choice([0, 0.5, 1]))
    odd = np.clip(np.sin(2 * np.pi * across) * 4, -1, 1) * (np.clip(np.cos(2 * np.pi * along) * 4, -1, 1))
    share = 0.5 + 0.5 * odd
    image = rgb(share, _colour(rng, 0.05, 0.6)) + rgb(1 - share, _colour(rng, 0.05, 0.6))
    return _mottle(rng, image, 0.1, 0.08)


def foliage(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return leaves: a rough relief under sunlight."""
    height = sum(
        a * noise(rng, shape, c * shape[1]) for c, a in ((0.12, 0.05), (0.04, 0.025), (0.018, 0.012))
    )
    normals = relief_normals(np.asarray(height, np.float32), shape[1])
    lit = np.clip(towards(normals, _LIGHT), 0.05, 1)
    leaf = (
        linear((88, 128, 58))
        * rng.uniform(0.5, 1.2)
        * np.array([rng.uniform(0.6, 1.6), 1, rng.uniform(0.5, 1.1)])
    )
    return _mottle(rng, rgb(lit, 1.4 * leaf), 0.06, 0.25)


def bricks(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a brick wall."""
    rows, columns = shape
    image = rgb(np.ones(shape, np.float32), linear((176, 170, 160)))
    high = rng.uniform(0.05, 0.12)
    base = _colour(rng, 0.08, 0.35) * np.array([1.4, 0.9, 0.7])
    for row in range(int(1 / high) + 1):
        x = -high * 2.2 * (row % 2) / 2
        while x < 1:
            _box(image, x, row * high, high * 2.2 * 0.94, high * 0.88, base * rng.uniform(0.7, 1.25))
            x += high * 2.2
    return _mottle(rng, image, 0.015, 0.1)


def page(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Return a printed page with lines of words and a chart."""
    image = rgb(np.ones(shape, np.float32), linear((240, 236, 226)) * rng.uniform(0.6, 1.0))
    line = rng.uniform(0.02, 0.045)
    y = 0.06
    while y < 0.94:
        if rng.random() < 0.12:
            y += 2 * line
        x = 0.08
        while x < 0.85:
            word = rng.uniform(0.02, 0.1)
            _box(image, x, y, word, line * 0.45, np.full(3, 0.03, np.float32))
            x += word + 0.015
        y += line
    if rng.random() < 0.6:
        top = rng.uniform(0.1, 0.6)
        _box(image, 0.1, top, 0.8, 0.34, np.full(3, 0.8, np.float32))
        for i in range(7):
            tall = rng.uniform(0.05, 0.28)
            _box(image, 0.14 + 0.105 * i, top + 0.32 - tall, 0.07, tall, _colour(rng, 0.05, 0.5))
    return _mottle(rng, image, 0.5, 0.06)


def _thing(rng: np.random.Generator, image: np.ndarray) -> None:
    """Paint a shaded box, ball, bottle or cloth and its shadow, in place."""
    rows, columns = image.shape[:2]
    frame = Frame(0, 0, columns / rows, 1, rows)
    size = rng.uniform(0.08, 0.3)
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    cloth = circle * (1 + 0.25 * np.sin(3 * turn + rng.uniform(0, 6)))[:, None]
    box = np.array([(-1, -0.8), (1, -0.8), (1, 0.8), (-1, 0.8)])
    bottle = np.array([(0.25, -1.6), (0.3, -0.8), (0.55, -0.3), (0.55, 1.2)])
    bottle = np.vstack([bottle, bottle[::-1] * (-1, 1)])
    outline = size * [circle, box, bottle, cloth][rng.integers(4)]
    angle = rng.normal(0, 0.25)
    outline = outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = outline + (rng.uniform(0, columns / rows), rng.uniform(0.2, 1.0))
    shadow, region = frame.fill(outline + (0.1 * size, 0.12 * size), soft=0.08 * size)
    image[region] *= rgb(1 - 0.5 * shadow)
    mask, region = frame.fill(outline, soft=0.5 / rows)
    if not mask.size:
        return
    body = size * 0.8 * np.sqrt(np.maximum(blur(mask, 0.3 * size * rows), 0))
    lit = 0.25 + 0.9 * np.maximum(towards(relief_normals(body, rows), _LIGHT), 0)
    paint(image[region], mask, rgb(lit, _colour(rng, 0.05, 0.7)))


def _grid(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x, 0 to 1, both of `shape`."""
    y, x = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    return y, x


def _colour(rng: np.random.Generator, dark: float, bright: float) -> np.ndarray:
    """Return a muted colour, (3,) linear light, between two brightnesses."""
    hue = rng.dirichlet([14, 14, 14]) * 3
    return (hue * rng.uniform(dark, bright)).astype(np.float32)


def _mottle(rng: np.random.Generator, image: np.ndarray, cell: float, strength: float) -> np.ndarray:
    """Return the image with smooth variations of brightness that are `cell` image widths wide."""
    rows, columns = image.shape[:2]
    return image * rgb(1 + strength * noise(rng, (rows, columns), max(1.5, cell * columns)))


def _box(image: np.ndarray, x: float, y: float, width: float, height: float, colour: np.ndarray) -> None:
    """Paint a rectangle, given in shares of the image, in place."""
    rows, columns = image.shape[:2]
    image[
        max(0, round(y * rows)) : max(0, round((y + height) * rows)),
        max(0, round(x * columns)) : max(0, round((x + width) * columns)),
    ] = colour
