"""Paint in units of the face: soft anti-aliased shapes, noise, relief and light.

Colours are linear light, RGB, 0 to 1, float32. `linear` converts from the values of a file, `display` to them. Their
gamma is 2, which is close to sRGB and much faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Slices = tuple[slice, slice]
# Components of unit normals, (h, w) each: x right, y down, z to the viewer.
Normals = tuple[np.ndarray, np.ndarray, np.ndarray]

# Bits of sub-pixel position in OpenCV's drawing functions.
_SHIFT = 4


def linear(colour: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Return display values (0 to 255) as linear light (0 to 1)."""
    return np.square(np.asarray(colour, np.float32) / 255)


def display(image: np.ndarray) -> np.ndarray:
    """Return linear light as display values, float32, 0 to 255. Highlights are compressed, not clipped."""
    bright = np.maximum(image, 0)
    high = bright > 0.7
    bright[high] = 1 - 0.3 * np.exp((0.7 - bright[high]) / 0.3)
    return 255 * np.sqrt(bright, out=bright)


def rgb(mask: np.ndarray, colour: np.ndarray | None = None) -> np.ndarray:
    """Return a mask (h, w) in three channels, times a colour (3,) if given. Faster than broadcasting."""
    if colour is None:
        return cv2.merge((mask, mask, mask))
    return cv2.merge([mask * float(c) for c in colour])


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Return smooth noise with features `cell` pixels wide and a deviation of about 1, float32 of `shape`."""
    coarse = (max(2, round(shape[0] / cell) + 2), max(2, round(shape[1] / cell) + 2))
    values = rng.standard_normal(coarse, np.float32)
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image with a Gaussian of `sigma` pixels. A wide Gaussian is computed at a lower resolution."""
    if sigma < 0.3:
        return image
    if sigma > 6:
        height, width = image.shape[:2]
        factor = int(sigma // 3)
        small = cv2.resize(
            image, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA
        )
        small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Blend a colour ((3,) or of the image's shape) into an image by a mask (0 to 1), in place."""
    if colour.ndim == 1:
        image *= rgb(1 - mask)
        image += rgb(mask, colour)
    else:
        image += rgb(mask) * (colour - image)


def relief_normals(height: np.ndarray, scale: float) -> Normals:
    """Return the unit normals of a height map. Heights are in units of `scale` pixels."""
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale / 8)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale / 8)
    length = 1 / np.sqrt(dx * dx + dy * dy + 1)
    return -dx * length, -dy * length, length


def towards(normals: Normals, direction: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between normals and a direction (3,): (h, w)."""
    x, y, z = (float(d) for d in direction)
    return normals[0] * x + normals[1] * y + normals[2] * z


@dataclass(frozen=True)
class Light:
    """One lamp and ambient light."""

    direction: np.ndarray  # (3,) unit vector towards the lamp: x right, y down, z to the viewer
    colour: np.ndarray  # (3,)
    ambient: np.ndarray  # (3,)

    def on(
        self, normals: Normals, wrap: tuple[float, float, float], open_sky: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """Return the light that a matt surface reflects, (h, w, 3).

        Args:
            normals: of the surface.
            wrap: distance that light reaches around an edge, for each colour; skin lets red through.
            open_sky: share of the light that reaches each point, (h, w); 1 on an open plane.
        """
        facing = towards(normals, self.direction)
        sky = 0.8 - 0.2 * normals[1]
        channels = []
        for reach, lamp, ambient in zip(wrap, self.colour, self.ambient, strict=True):
            lit = np.maximum(facing + reach, 0) * (float(lamp) / (1 + reach))
            lit += sky * float(ambient)
            channels.append(lit * open_sky)
        return cv2.merge(channels)

    def gloss(self, normals: Normals, power: int) -> np.ndarray:
        """Return the strength of the lamp's reflection, seen from the front, (h, w)."""
        half = self.direction + (0, 0, 1)
        return cv2.pow(np.maximum(towards(normals, half / np.linalg.norm(half)), 0), power)


@dataclass(frozen=True)
class Frame:
    """The rectangle of a canvas, which converts units to pixels."""

    left: float  # units
    top: float  # units
    width: float  # units
    height: float  # units
    scale: float  # pixels per unit

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return round(self.height * self.scale), round(self.width * self.scale)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the columns (1, w) and the rows (h, 1), in units."""
        rows, columns = self.shape
        x = self.left + (np.arange(columns, dtype=np.float32) + 0.5) / self.scale
        y = self.top + (np.arange(rows, dtype=np.float32) + 0.5) / self.scale
        return x[None], y[:, None]

    def part(self, region: Slices) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of the columns (1, w) and the rows (h, 1) of a region."""
        x, y = self.axes
        return x[:, region[1]], y[region[0]]

    def hill(self, x: float, y: float, wide: float, tall: float, amount: float = 1.0) -> np.ndarray:
        """Return a Gaussian hill at x, y with deviations `wide` and `tall`, all in units, (h, w) float32."""
        columns, rows = self.axes
        across = np.exp(-0.5 * np.square((columns - float(x)) / float(wide)))
        return across * (float(amount) * np.exp(-0.5 * np.square((rows - float(y)) / float(tall))))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return points (n, 2) in pixels."""
        return (np.asarray(points) - (self.left, self.top)) * self.scale - 0.5

    def window(self, points: np.ndarray, margin: float) -> Slices:
        """Return the region of the canvas around points, with a margin in units."""
        low, high = self.pixels(np.min(points, axis=0) - margin), self.pixels(np.max(points, axis=0) + margin)
        rows, columns = self.shape
        top, bottom = np.clip([int(low[1]), int(high[1]) + 2], 0, rows)
        left, right = np.clip([int(low[0]), int(high[0]) + 2], 0, columns)
        return slice(top, bottom), slice(left, right)

    def fill(self, outline: np.ndarray, soft: float = 0.0) -> tuple[np.ndarray, Slices]:
        """Return the mask (0 to 1) of a closed outline with an edge `soft` units wide, and its region."""
        region = self.window(outline, 3 * soft + 2 / self.scale)
        mask = np.zeros((region[0].stop - region[0].start, region[1].stop - region[1].start), np.uint8)
        if mask.size:
            cv2.fillPoly(mask, [self._fixed(outline, region)], 255, cv2.LINE_AA, _SHIFT)
        return self._soften(mask, soft), region

    def stroke(
        self, lines: list[np.ndarray], width: float, strength: float | np.ndarray = 1.0, soft: float = 0.0
    ) -> tuple[np.ndarray, Slices]:
        """Return the mask of lines ((n, 2) each) `width` units wide, and its region.

        Args:
            lines: at least one.
            width: units.
            strength: of each line, 0 to 1.
            soft: width of the edge, units.
        """
        region = self.window(np.vstack(lines), 3 * soft + width + 2 / self.scale)
        mask = np.zeros((region[0].stop - region[0].start, region[1].stop - region[1].start), np.uint8)
        # OpenCV's lines are whole pixels wide. The strength makes up for the difference.
        pixels = max(1, round(width * self.scale))
        weight = min(1.0, width * self.scale / pixels)
        if mask.size:
            for line, value in zip(lines, np.broadcast_to(strength, len(lines)), strict=True):
                cv2.polylines(
                    mask,
                    [self._fixed(line, region)],
                    False,
                    255 * weight * float(value),
                    pixels,
                    cv2.LINE_AA,
                    _SHIFT,
                )
        return self._soften(mask, soft), region

    def _fixed(self, points: np.ndarray, region: Slices) -> np.ndarray:
        offset = (region[1].start, region[0].start)
        return np.round((self.pixels(points) - offset) * 2**_SHIFT).astype(np.int32)

    def _soften(self, mask: np.ndarray, soft: float) -> np.ndarray:
        return (
            blur(mask.astype(np.float32) / 255, soft * self.scale) if mask.size else mask.astype(np.float32)
        )
