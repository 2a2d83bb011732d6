"""What a detector returns, and how every detector looks for the one face of a picture.

A detector trained on scenes sees a face that fills its picture only with a border around it, and a small one
only at a fine scale. So a picture is looked at from coarse to fine, as a square window scaled to a canvas,
until a face is found.

Of several faces the one with the largest area x score x nearness is taken, nearness falling from 1 in the
middle of the picture to 1/2 in the corners of the square looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from pipeline.faces.alignment import likeness

# Landmarks less like a face than this are a wrong guess on something that may be one (see `likeness`).
LIKENESS = 0.4
# Boxes that overlap more (intersection over union) are one face, as in insightface.
SAME_FACE = 0.4
# Canvas pixels in one call of a network: 16 canvases of 160 x 160, one of 640 x 640.
BATCH_PIXELS = 16 * 160 * 160
# Grey, zero after normalisation. With black, one look of SCRFD misses 2.5 % of FER+ instead of 2.0 %.
BORDER = 128


@dataclass(frozen=True)
class Detection:
    """A face, in pixels of the picture; NaN for what a data set that gives its own faces does not give.

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

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """Return all faces of each canvas (BGR, uint8, one size), best score first, in pixels of the canvas."""


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


class Look(NamedTuple):
    """One try: the picture with a border (share of its longer side, each side) on a canvas of size x size.

    Pictures whose longer side is below `least` are left out: an earlier look has shown every pixel of them.
    """

    size: int
    border: float
    least: int = 0


# Returns all faces of each canvas, in pixels of the canvas; the canvases (BGR, uint8) have one size.
Finder = Callable[[list[np.ndarray]], list[list[Detection]]]


@dataclass(frozen=True)
class Search:
    """A detector's way from coarse to fine.

    Attributes:
        looks: in this order, until a face is found.
        near: a face smaller than this on its canvas, pixels, is looked at once more from near, and dropped if
            not seen again: its landmarks become as exact as a large face's, and what is a face only from afar
            does not pass. 0: never.
        near_look: that look; its border is a share of the face's box.
    """

    looks: tuple[Look, ...]
    near: int
    near_look: Look

    def chosen(self, pictures: list[np.ndarray], faces: Finder) -> list[Detection | None]:
        """Return the chosen face of each picture (BGR, uint8, H x W x 3), None where there is none."""
        found: list[Detection | None] = [None] * len(pictures)
        for look in self.looks:
            rows = [
                row
                for row, face in enumerate(found)
                if face is None and max(pictures[row].shape[:2]) >= look.least
            ]
            windows = [_window(pictures[row], look.border) for row in rows]
            seen = _look([pictures[row] for row in rows], windows, look.size, faces)
            near: list[int] = []
            for row, window, face in zip(rows, windows, seen, strict=True):
                if face is not None:
                    found[row] = face
                    if _side(face) * look.size / window.side < self.near:
                        near.append(row)
            around = [self._near_window(face) for row in near if (face := found[row]) is not None]
            closer = _look([pictures[row] for row in near], around, self.near_look.size, faces)
            for row, face in zip(near, closer, strict=True):
                found[row] = face
        return found

    def _near_window(self, face: Detection) -> Window:
        x1, y1, x2, y2 = face.box
        return Window.around(((x1 + x2) / 2, (y1 + y2) / 2), _side(face) * (1 + 2 * self.near_look.border))


def distinct(candidates: Iterable[Detection]) -> list[Detection]:
    """Return the candidates that are faces, each face once, best score first."""
    faces: list[Detection] = []
    for face in sorted(candidates, key=lambda face: -face.score):
        if likeness(face.landmarks) >= LIKENESS and all(_overlap(face, kept) <= SAME_FACE for kept in faces):
            faces.append(face)
    return faces


def _look(
    pictures: list[np.ndarray], windows: list[Window], size: int, faces: Finder
) -> list[Detection | None]:
    """Return the chosen face in a window of each picture, in pixels of the picture."""
    chosen: list[Detection | None] = []
    step = max(1, BATCH_PIXELS // size**2)
    for start in range(0, len(pictures), step):
        batch = slice(start, start + step)
        canvases = [Canvas.of(p, w, size) for p, w in zip(pictures[batch], windows[batch], strict=True)]
        for canvas, seen in zip(canvases, faces([c.pixels for c in canvases]), strict=True):
            face = max(seen, key=lambda face: _prominence(face, size), default=None)
            chosen.append(face and canvas.to_picture(face))
    return chosen


def _window(picture: np.ndarray, border: float) -> Window:
    height, width = picture.shape[:2]
    return Window.around((width / 2, height / 2), max(height, width) * (1 + 2 * border))


def _side(face: Detection) -> float:
    x1, y1, x2, y2 = face.box
    return float(max(x2 - x1, y2 - y1))


def _prominence(face: Detection, size: int) -> float:
    x1, y1, x2, y2 = (float(v) for v in face.box)
    off_centre = np.hypot((x1 + x2) / size - 1, (y1 + y2) / size - 1) / np.sqrt(2)
    return (x2 - x1) * (y2 - y1) * face.score * (1 - 0.5 * min(1.0, float(off_centre)))


def _overlap(one: Detection, other: Detection) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = sum(float(np.prod(face.box[2:] - face.box[:2])) for face in (one, other)) - shared
    return shared / union if union > 0 else 0.0
