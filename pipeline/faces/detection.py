"""What a detector returns, and how it looks at a picture: a square window scaled to a canvas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

# Grey, zero after normalisation. With black, one look of SCRFD misses 2.5 % of FER+ instead of 2.0 %.
BORDER = 128


@dataclass(frozen=True)
class Detection:
    """A face, in pixels of the picture.

    Attributes:
        box: float32 (4,): x1, y1, x2, y2.
        landmarks: float32 (5, 2): left eye, right eye, nose, left and right mouth corner as seen in the
            picture, x before y.
        score: the detector's confidence, 0 to 1.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float


class FaceDetector(Protocol):
    """What the class `Detector` of every module in `pipeline/faces/detectors` offers."""

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load a file of weights; faces below the threshold (score, 0 to 1) are not reported."""

    def detect(self, pictures: list[np.ndarray]) -> list[Detection | None]:
        """Return the chosen face of each picture (BGR, uint8, H x W x 3), None where there is none."""


class Window(NamedTuple):
    """A square of the picture, in its pixels; it may reach beyond the picture."""

    x: int
    y: int
    side: int

    @classmethod
    def around(cls, centre: tuple[float, float], side: float) -> Window:
        """Return the window of at least `side` pixels around a point."""
        whole = max(1, int(np.ceil(side)))
        return cls(round(centre[0] - whole / 2), round(centre[1] - whole / 2), whole)


@dataclass(frozen=True)
class Canvas:
    """A window of a picture scaled to a square, and the way back.

    Attributes:
        pixels: uint8, size x size x 3; `BORDER` where the window reaches beyond the picture.
        origin: point of the picture that lies at `corner` of the canvas.
        corner: where the picture begins on the canvas, in whole pixels.
        scale: picture pixels per canvas pixel, along x and y (they differ by rounding alone).
    """

    pixels: np.ndarray
    origin: np.ndarray
    corner: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray, window: Window, size: int) -> Canvas:
        """Scale a window of a picture to size x size pixels, by area where that shrinks it."""
        height, width = picture.shape[:2]
        start = np.array([max(window.x, 0), max(window.y, 0)])
        stop = np.array([min(window.x + window.side, width), min(window.y + window.side, height)])
        zoom = size / window.side
        corner = np.minimum(np.rint((start - (window.x, window.y)) * zoom).astype(int), size - 1)
        extent = np.clip(np.rint((stop - start) * zoom).astype(int), 1, size - corner)
        part = picture[start[1] : stop[1], start[0] : stop[0]]
        pixels = np.full((size, size, 3), BORDER, np.uint8)
        pixels[corner[1] : corner[1] + extent[1], corner[0] : corner[0] + extent[0]] = cv2.resize(
            part, tuple(map(int, extent)), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        )
        return cls(pixels, start, corner, (stop - start) / extent)

    def to_picture(self, face: Detection) -> Detection:
        """Move a face found on the canvas into the picture."""
        points = [
            (p.reshape(-1, 2) - self.corner) * self.scale + self.origin for p in (face.box, face.landmarks)
        ]
        box, landmarks = (p.astype(np.float32) for p in points)
        return Detection(box.reshape(4), landmarks, face.score)
