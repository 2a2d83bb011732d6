"""Find the main face of an image, with any detector.

A detector trained on scenes misses a face that fills its image, unless the image has a border, and misses a small
face at a coarse scale. So each image is searched from coarse to fine until a face is found. Each look scales a square
window of the image to a canvas.

If a look finds several faces, the one with the largest area x score x nearness is chosen. Nearness falls from 1 in the
middle of the window to 1/2 in its corners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.faces.alignment import likeness

# Landmarks with a smaller `likeness` are a wrong guess, so their face is dropped.
LIKENESS = 0.4
# Two boxes with a larger intersection over union show one face, as in insightface.
SAME_FACE = 0.4
# Canvas pixels in one call of a network: 16 canvases of 160 x 160, or one of 640 x 640.
BATCH_PIXELS = 16 * 160 * 160
# Grey, which is zero after normalisation. With black, one look of SCRFD misses 2.5 % of FER+ instead of 2.0 %.
BORDER = 128


@dataclass(frozen=True)
class Detection:
    """A face, in pixels of the image. NaN stands for a value that a data set with its own faces does not give.

    Attributes:
        box: float32 (4,): x1, y1, x2, y2.
        landmarks: float32 (5, 2), x before y: left eye, right eye, nose, left and right mouth corner. Left and right
            are those of the image, turned so that the face is upright.
        score: confidence of the detector, 0 to 1. NaN for a face that a data set gives; its box or its landmarks may
            be NaN too.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box: x, y."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def side(self) -> float:
        """Longer side of the box, pixels."""
        x1, y1, x2, y2 = self.box
        return float(max(x2 - x1, y2 - y1))


class Window(NamedTuple):
    """A square of the image, in its pixels. It may reach beyond the image."""

    x: int
    y: int
    side: int

    @classmethod
    def around(cls, centre: tuple[float, float], side: float) -> Window:
        """Return the window of at least `side` pixels around a point."""
        whole = max(1, int(np.ceil(side)))
        return cls(round(centre[0] - whole / 2), round(centre[1] - whole / 2), whole)

    @classmethod
    def bordered(cls, image: np.ndarray, border: float) -> Window:
        """Return the window around an image with a border, a share of its longer side, on each side."""
        height, width = image.shape[:2]
        return cls.around((width / 2, height / 2), max(height, width) * (1 + 2 * border))


@dataclass(frozen=True)
class Canvas:
    """A window of an image, scaled to a square, which may be turned.

    Attributes:
        pixels: uint8, size x size x 3; `BORDER` outside the image.
        origin: point of the image at `corner` of the canvas.
        corner: first point of the canvas with a pixel of the image, in whole pixels, before the canvas is turned.
        scale: image pixels per canvas pixel, along x and y. They differ only by rounding.
        quarter: quarter turns of the canvas, anticlockwise.
    """

    pixels: np.ndarray
    origin: np.ndarray
    corner: np.ndarray
    scale: np.ndarray
    quarter: int

    @classmethod
    def of(cls, image: np.ndarray, window: Window, size: int, quarter: int = 0) -> Canvas:
        """Scale a window of an image to size x size pixels: by area if it shrinks, else bilinear. Then turn it."""
        height, width = image.shape[:2]
        start = np.array([max(window.x, 0), max(window.y, 0)])
        stop = np.array([min(window.x + window.side, width), min(window.y + window.side, height)])
        zoom = size / window.side
        corner = np.minimum(np.rint((start - (window.x, window.y)) * zoom).astype(int), size - 1)
        extent = np.clip(np.rint((stop - start) * zoom).astype(int), 1, size - corner)
        part = image[start[1] : stop[1], start[0] : stop[0]]
        pixels = np.full((size, size, 3), BORDER, np.uint8)
        pixels[corner[1] : corner[1] + extent[1], corner[0] : corner[0] + extent[0]] = cv2.resize(
            part, tuple(map(int, extent)), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        )
        pixels = np.ascontiguousarray(np.rot90(pixels, quarter))
        return cls(pixels, start, corner, (stop - start) / extent, quarter)

    def to_image(self, face: Detection) -> Detection:
        """Return a face of the canvas in pixels of the image."""
        box, landmarks = face.box.reshape(2, 2), face.landmarks
        for _ in range(self.quarter):
            box, landmarks = (
                np.stack([len(self.pixels) - p[:, 1], p[:, 0]], axis=1) for p in (box, landmarks)
            )
            box = np.stack([box.min(axis=0), box.max(axis=0)])
        box, landmarks = (
            ((p.reshape(-1, 2) - self.corner) * self.scale + self.origin).astype(np.float32)
            for p in (box, landmarks)
        )
        return Detection(box.reshape(4), landmarks, face.score)


class Look(NamedTuple):
    """One look at an image with a border (share of its longer side, each side) on a canvas of size x size.

    An image with a longer side below `least` is skipped, because an earlier look has shown all its pixels.
    """

    size: int
    border: float
    least: int = 0


# Returns all faces of each canvas (BGR, uint8, one size), in pixels of the canvas.
Finder = Callable[[list[np.ndarray]], list[list[Detection]]]


@dataclass(frozen=True)
class Search:
    """The search of a detector, from coarse to fine.

    Attributes:
        looks: in this order, until a face is found.
        near: a smaller face on its canvas, in pixels, is checked with `near_look` and dropped if it is not found
            again. Its landmarks become as exact as those of a large face. 0: no face is checked.
        near_look: its border is a share of the face's box.
        sure: a face with at least this score is upright. One that lies on its side or stands on its head has less.
        smallest: smallest face that the detector finds on a canvas, pixels.
    """

    looks: tuple[Look, ...]
    near: int
    near_look: Look
    sure: float
    smallest: int = 12

    def chosen(self, images: list[np.ndarray], faces: Finder, turn: bool = False) -> list[Detection | None]:
        """Return the chosen face of each image (BGR, uint8, H x W x 3), or None for no face.

        Args:
            images: the images.
            faces: the detector.
            turn: whether each look whose face is not `sure` also looks at the canvas in the other three directions,
                one after the other. Of the directions, the one with the best score is taken.
        """
        found: list[Detection | None] = [None] * len(images)
        for look in self.looks:
            rows = [
                row
                for row, face in enumerate(found)
                if face is None and max(images[row].shape[:2]) >= look.least
            ]
            windows = [Window.bordered(images[row], look.border) for row in rows]
            seen, quarters = self._look([images[row] for row in rows], windows, look.size, faces, turn)
            near: dict[int, tuple[Detection, int]] = {}
            for row, window, face, quarter in zip(rows, windows, seen, quarters, strict=True):
                if face is not None:
                    found[row] = face
                    if face.side * look.size / window.side < self.near:
                        near[row] = face, quarter
            around = [self.near_window(face) for face, _ in near.values()]
            turns = [quarter for _, quarter in near.values()]
            closer = _chosen([images[row] for row in near], around, self.near_look.size, faces, turns)
            for row, face in zip(near, closer, strict=True):
                found[row] = face
        return found

    def _look(
        self, images: list[np.ndarray], windows: list[Window], size: int, faces: Finder, turn: bool
    ) -> tuple[list[Detection | None], list[int]]:
        """Return the chosen face in a window of each image, and the quarter turns of the canvas that shows it."""
        quarters = [0] * len(images)
        best = _chosen(images, windows, size, faces, quarters)
        for quarter in (1, 2, 3) if turn else ():
            unsure = [row for row, face in enumerate(best) if face is None or face.score < self.sure]
            few = [images[row] for row in unsure], [windows[row] for row in unsure]
            for row, face in zip(unsure, _chosen(*few, size, faces, [quarter] * len(unsure)), strict=True):
                other = best[row]
                if face is not None and (other is None or face.score > other.score):
                    best[row], quarters[row] = face, quarter
        return best, quarters

    def near_window(self, face: Detection) -> Window:
        """Return the window of `near_look` around a face."""
        return Window.around(face.centre, face.side * (1 + 2 * self.near_look.border))


class FaceDetector:
    """Base of the class `Detector` in every module of `pipeline/faces/detectors`. Safe to share between threads."""

    search: Search

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """Return all faces of each canvas (BGR, uint8, one size), best score first, in pixels of the canvas."""
        raise NotImplementedError

    def detect(self, images: list[np.ndarray], turn: bool = False) -> list[Detection | None]:
        """Return the chosen face of each image, or None for no face. See `Search.chosen`."""
        return self.search.chosen(images, self.faces, turn)


def distinct_faces(candidates: Iterable[Detection]) -> list[Detection]:
    """Return the candidates with the landmarks of a face, each face once, best score first."""
    faces: list[Detection] = []
    for face in sorted(candidates, key=lambda face: -face.score):
        if likeness(face.landmarks) >= LIKENESS and all(overlap(face, kept) <= SAME_FACE for kept in faces):
            faces.append(face)
    return faces


def faces_on_canvases(
    images: list[np.ndarray], windows: list[Window], size: int, faces: Finder, quarters: list[int]
) -> Iterator[tuple[Canvas, list[Detection]]]:
    """Yield for a window of each image its canvas, turned by `quarters`, and all faces in pixels of the canvas."""
    step = max(1, BATCH_PIXELS // size**2)
    for start in range(0, len(images), step):
        batch = slice(start, start + step)
        canvases = [
            Canvas.of(image, window, size, quarter)
            for image, window, quarter in zip(images[batch], windows[batch], quarters[batch], strict=True)
        ]
        yield from zip(canvases, faces([canvas.pixels for canvas in canvases]), strict=True)


def _chosen(
    images: list[np.ndarray], windows: list[Window], size: int, faces: Finder, quarters: list[int]
) -> list[Detection | None]:
    """Return the chosen face in a window of each image, in pixels of the image."""
    chosen: list[Detection | None] = []
    for canvas, seen in faces_on_canvases(images, windows, size, faces, quarters):
        face = max(seen, key=lambda face: _prominence(face, size), default=None)
        chosen.append(face and canvas.to_image(face))
    return chosen


def _prominence(face: Detection, size: int) -> float:
    """Return area x score x nearness of a face on a canvas."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    off_centre = np.hypot((x1 + x2) / size - 1, (y1 + y2) / size - 1) / np.sqrt(2)
    return (x2 - x1) * (y2 - y1) * face.score * (1 - 0.5 * min(1.0, float(off_centre)))


def overlap(one: Detection, other: Detection) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = sum(float(np.prod(face.box[2:] - face.box[:2])) for face in (one, other)) - shared
    return shared / union if union > 0 else 0.0
