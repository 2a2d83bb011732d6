"""Find all faces of an image, and not only the one that training uses.

`FaceDetector.detect` stops at the coarsest look with a face. Here a second, finer pass looks for the other faces. The
resolution of its canvas depends on the size of the image.
"""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np

from pipeline.faces.alignment import quarters
from pipeline.faces.detection import (
    SAME_FACE,
    Detection,
    FaceDetector,
    Search,
    Window,
    faces_on_canvases,
)

# The smallest face to look for, in pixels of the image. A smaller face shows no expression.
SMALLEST = 24
# Share of the image's longer side, on each side. `detect` finds a face that fills its image.
BORDER = 0.1


def all_faces(detector: FaceDetector, images: list[np.ndarray], turn: bool = False) -> list[list[Detection]]:
    """Return all faces of each image. The first one is the result of `detector.detect`, to the last bit.

    The smallest face found is 24 pixels wide. For neural detectors it is also 1/45 of the longer side, because their
    canvases end at 640 pixels. An image in which `detect` finds no face has none.

    Args:
        detector: finds the faces.
        images: BGR, uint8, H x W x 3.
        turn: whether to look at the images in all four directions, see `Search.chosen`. Of the faces found at one
            place, the one with the best score is taken.
    """
    search = detector.search
    faces = [[] if face is None else [face] for face in detector.detect(images, turn)]
    rows_by_size: dict[int, list[int]] = defaultdict(list)
    for row, main in enumerate(faces):
        if main:
            rows_by_size[_canvas_size(search, images[row])].append(row)
    for size, rows in rows_by_size.items():
        windows = [Window.bordered(images[row], BORDER) for row in rows]
        of_rows = [images[row] for row in rows]
        seen = [
            _faces_in_windows(detector, of_rows, windows, size, [quarter] * len(rows))
            for quarter in range(4 if turn else 1)
        ]
        for row, window, *directions in zip(rows, windows, *seen, strict=True):
            found = [face for direction in directions for face in direction]
            others = distinct_boxes([*faces[row], *found])[1:]
            small = [face for face in others if face.side * size / window.side < search.near]
            large = [face for face in others if face.side * size / window.side >= search.near]
            faces[row] = distinct_boxes(
                [*faces[row], *large, *_confirmed(detector, images[row], small, turn)]
            )
    return faces


def distinct_boxes(faces: list[Detection]) -> list[Detection]:
    """Return the first face, and of the others, by score, those that overlap no face before them."""
    corners = np.array([face.box for face in faces], np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    scores = [2.0, *(face.score for face in faces[1:])]  # the first is above any score of a detector
    return [faces[i] for i in cv2.dnn.NMSBoxes(boxes.tolist(), scores, 0.0, SAME_FACE)]


def _confirmed(
    detector: FaceDetector, image: np.ndarray, faces: list[Detection], turn: bool
) -> list[Detection]:
    """Return small faces as a near look finds them. A face that it does not find is left out."""
    search = detector.search
    windows = [search.near_window(face) for face in faces]
    turns = [int(quarters(face.landmarks[None])[0]) if turn else 0 for face in faces]
    near = _faces_in_windows(detector, [image] * len(faces), windows, search.near_look.size, turns)
    return [
        min(seen, key=lambda one: float(np.hypot(*np.subtract(one.centre, face.centre))))
        for face, seen in zip(faces, near, strict=True)
        if seen
    ]


def _faces_in_windows(
    detector: FaceDetector, images: list[np.ndarray], windows: list[Window], size: int, turns: list[int]
) -> list[list[Detection]]:
    """Return all faces in a window of each image, in pixels of the image."""
    on_canvases = faces_on_canvases(images, windows, size, detector.faces, turns)
    return [[canvas.to_image(face) for face in seen] for canvas, seen in on_canvases]


def _canvas_size(search: Search, image: np.ndarray) -> int:
    """Return the side of the canvas, a multiple of 32, on which the detector sees the smallest face."""
    sizes = [look.size for look in search.looks]
    zoom = search.smallest / SMALLEST
    wanted = int(np.ceil(Window.bordered(image, BORDER).side * zoom / 32)) * 32
    return min(max(wanted, min(sizes)), max(sizes))
