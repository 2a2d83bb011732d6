"""All faces of a picture, beside the one that training uses.

`detect` stops at the coarsest look that shows a face. The others are looked for once more, at the resolution that
their number of pixels is worth.
"""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np

from pipeline.faces.detection import BATCH_PIXELS, SAME_FACE, Canvas, Detection, FaceDetector, Search, Window
from pipeline.faces.detectors import detector_module

# A smaller face, in pixels of the picture, is not looked for: it shows no expression.
SMALLEST = 24
# What such a face has to measure on the canvas: HOG needs 80 pixels, networks see 12.
ON_CANVAS = {"dlib": 80}
ON_CANVAS_OTHERS = 12
# Of the picture's longer side, on each side; a face that fills its picture is the one that `detect` finds.
BORDER = 0.1


def all_faces(name: str, detector: FaceDetector, pictures: list[np.ndarray]) -> list[list[Detection]]:
    """Return all faces of each picture; the first is what `detector.detect` returns, to the last bit.

    Found is what measures 24 pixels or more, with the networks also at least 1/45 of the longer side: their canvases
    end at 640 pixels. A picture in which `detect` finds no face has none.

    Args:
        name: of the detector, as `align.detector`.
        detector: that one.
        pictures: BGR, uint8, H x W x 3.
    """
    search = detector_module(name).SEARCH
    faces = [[] if face is None else [face] for face in detector.detect(pictures)]
    alike: dict[int, list[int]] = defaultdict(list)  # rows by the size of their canvas
    for row, chosen in enumerate(faces):
        if chosen:
            alike[_size(name, search, pictures[row])].append(row)
    for size, rows in alike.items():
        windows = [_whole(pictures[row]) for row in rows]
        seen = _look(detector, [pictures[row] for row in rows], windows, size)
        for row, window, found in zip(rows, windows, seen, strict=True):
            others = distinct_boxes([*faces[row], *found])[1:]
            near = [face for face in others if _side(face) * size / window.side < search.near]
            far = [face for face in others if _side(face) * size / window.side >= search.near]
            closer = _from_near(detector, search, pictures[row], near)
            faces[row] = distinct_boxes([*faces[row], *far, *closer])
    return faces


def distinct_boxes(faces: list[Detection]) -> list[Detection]:
    """Return the first face and, of the others by score, those that overlap with none before them."""
    corners = np.array([face.box for face in faces], np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    scores = [2.0, *(face.score for face in faces[1:])]  # above any detector's
    return [faces[i] for i in cv2.dnn.NMSBoxes(boxes.tolist(), scores, 0.0, SAME_FACE)]


def _from_near(
    detector: FaceDetector, search: Search, picture: np.ndarray, faces: list[Detection]
) -> list[Detection]:
    """Return small faces as they look from near; what is none from there is left out."""
    size, border, _ = search.near_look
    windows = [Window.around(_middle(face), _side(face) * (1 + 2 * border)) for face in faces]
    closer = []
    for face, seen in zip(faces, _look(detector, [picture] * len(faces), windows, size), strict=True):
        if seen:
            middle = np.array(_middle(face))
            closer.append(min(seen, key=lambda one: float(np.hypot(*(_middle(one) - middle)))))
    return closer


def _look(
    detector: FaceDetector, pictures: list[np.ndarray], windows: list[Window], size: int
) -> list[list[Detection]]:
    """Return all faces in a window of each picture, in pixels of the picture."""
    found = []
    step = max(1, BATCH_PIXELS // size**2)
    for start in range(0, len(pictures), step):
        batch = slice(start, start + step)
        canvases = [Canvas.of(p, w, size) for p, w in zip(pictures[batch], windows[batch], strict=True)]
        for canvas, seen in zip(canvases, detector.faces([c.pixels for c in canvases]), strict=True):
            found.append([canvas.to_picture(face) for face in seen])
    return found


def _size(name: str, search: Search, picture: np.ndarray) -> int:
    """Return the side of the canvas, a multiple of 32, on which the smallest face can be seen."""
    sizes = [look.size for look in search.looks]
    zoom = ON_CANVAS.get(name, ON_CANVAS_OTHERS) / SMALLEST
    wanted = int(np.ceil(_whole(picture).side * zoom / 32)) * 32
    return min(max(wanted, min(sizes)), max(sizes))


def _whole(picture: np.ndarray) -> Window:
    height, width = picture.shape[:2]
    return Window.around((width / 2, height / 2), max(height, width) * (1 + 2 * BORDER))


def _middle(face: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return (x1 + x2) / 2, (y1 + y2) / 2


def _side(face: Detection) -> float:
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return max(x2 - x1, y2 - y1)
