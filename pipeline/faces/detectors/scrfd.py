"""SCRFD, insightface's detector (Guo et al. 2021, "Sample and Computation Redistribution for Efficient Face
Detection"), with five landmarks, through onnxruntime.

It was trained on scenes: a face that fills its picture is found only with a border around the picture, a
small one only at a fine scale. So a picture is looked at from coarse to fine until a face is found.

Of several faces the one with the largest area x score x nearness is taken, nearness falling from 1 in the
middle of the picture to 1/2 in the corners of the square looked at.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from pipeline.errors import UserError, one_line
from pipeline.faces.alignment import likeness
from pipeline.faces.detection import Canvas, Detection, Window
from pipeline.faces.weights import Packaged

PACKAGED = Packaged(
    distribution="scrfd",
    version="0.3.0",
    archive_sha256="35855c664d565492aab0068f1c64b4957a15ca6cd106b9c8b1642d67cfeeb5fc",
    member="scrfd-0.3.0/models/scrfd.onnx",
    sha256="9c162a817c7dd32d35d1f1c6ae6445032d6e73c6c5fe61d8b5b663ba8bc86b30",
    network="SCRFD 2.5G with five landmarks",
    licence="Apache-2.0 according to the package, which does not say who trained them; insightface, whose "
    "network it is, offers its own pretrained models for non-commercial research only",
)


class Look(NamedTuple):
    """One try: the picture with a border (share of its longer side, each side) on a canvas of size x size.

    Pictures whose longer side is below `least` are left out: an earlier look has shown every pixel of them.
    """

    size: int
    border: float
    least: int = 0


# Measured on 8,000 pictures of FER+: 111 not found by the first look, 45, 41 and 25 by the following ones.
# The last one finds nothing there; it is for small faces in scenes.
LOOKS = (Look(160, 0.15), Look(160, 0.0), Look(160, 0.5), Look(320, 0.25), Look(640, 0.15, least=214))
# A face smaller than this on its canvas, pixels, is looked at once more from near, and dropped if not seen
# again: its landmarks become as exact as a large face's, and what is a face only from afar does not pass.
NEAR = 48
NEAR_LOOK = Look(160, 0.5)
# Landmarks less like a face than this are a wrong guess on something that may be one (see `likeness`).
LIKENESS = 0.4
# Boxes that overlap more (intersection over union) are one face, as in insightface.
SAME_FACE = 0.4
STRIDES = (8, 16, 32)
ANCHORS = 2  # per place
# Canvas pixels in one call of the network: 16 canvases of 160 x 160, one of 640 x 640.
BATCH_PIXELS = 16 * 160 * 160


class Detector:
    """SCRFD with weights of insightface's form. Safe to share between threads."""

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the network.

        Args:
            weights: an .onnx file with nine outputs: scores, boxes, landmarks, each for the strides 8, 16, 32.
            threshold: the least score of a face, 0 to 1.

        Raises:
            UserError: the file is not such a network.
        """
        options = onnxruntime.SessionOptions()
        # One thread per call: the caller's threads each work on pictures of their own, which scales better
        # than sharing the layers of one.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            model = dynamic(onnx.load(weights)).SerializeToString()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._input = self._session.get_inputs()[0].name
            self.threshold = 1.0
            self.faces([np.zeros((64, 64, 3), np.uint8)] * 2)
        except Exception as error:  # onnx and onnxruntime raise a dozen unrelated types
            raise UserError(
                f"{weights}: not an SCRFD network with five landmarks: {one_line(error)}"
            ) from error
        self.threshold = threshold

    def detect(self, pictures: list[np.ndarray]) -> list[Detection | None]:
        """Return the chosen face of each picture (BGR, uint8, H x W x 3), None where there is none."""
        found: list[Detection | None] = [None] * len(pictures)
        for look in LOOKS:
            rows = [
                row
                for row, face in enumerate(found)
                if face is None and max(pictures[row].shape[:2]) >= look.least
            ]
            windows = [_window(pictures[row], look.border) for row in rows]
            seen = self._look([pictures[row] for row in rows], windows, look.size)
            near: list[int] = []
            for row, window, face in zip(rows, windows, seen, strict=True):
                if face is not None:
                    found[row] = face
                    if _side(face) * look.size / window.side < NEAR:
                        near.append(row)
            around = [_near_window(face) for row in near if (face := found[row]) is not None]
            closer = self._look([pictures[row] for row in near], around, NEAR_LOOK.size)
            for row, face in zip(near, closer, strict=True):
                found[row] = face
        return found

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """Return all faces of each canvas, best score first, in pixels of the canvas.

        Args:
            canvases: BGR, uint8, all size x size x 3 with the same size, a multiple of 32.
        """
        size = canvases[0].shape[0]
        blob = cv2.dnn.blobFromImages(canvases, 1 / 128, (size, size), (127.5, 127.5, 127.5), swapRB=True)
        outputs = self._session.run(None, {self._input: blob})
        places = [(size // stride) ** 2 * ANCHORS for stride in STRIDES]
        scores, boxes, landmarks = (
            [
                output.reshape(len(canvases), count, width)
                for output, count in zip(outputs[first : first + 3], places, strict=True)
            ]
            for first, width in ((0, 1), (3, 4), (6, 10))
        )
        return [
            self._decode([s[i, :, 0] for s in scores], [b[i] for b in boxes], [k[i] for k in landmarks], size)
            for i in range(len(canvases))
        ]

    def _look(self, pictures: list[np.ndarray], windows: list[Window], size: int) -> list[Detection | None]:
        """Return the chosen face in a window of each picture, in pixels of the picture."""
        chosen: list[Detection | None] = []
        step = max(1, BATCH_PIXELS // size**2)
        for start in range(0, len(pictures), step):
            batch = slice(start, start + step)
            canvases = [Canvas.of(p, w, size) for p, w in zip(pictures[batch], windows[batch], strict=True)]
            for canvas, faces in zip(canvases, self.faces([c.pixels for c in canvases]), strict=True):
                face = max(faces, key=lambda face: _prominence(face, size), default=None)
                chosen.append(face and canvas.to_picture(face))
        return chosen

    def _decode(
        self, scores: list[np.ndarray], boxes: list[np.ndarray], landmarks: list[np.ndarray], size: int
    ) -> list[Detection]:
        """Turn the outputs for one canvas, by stride, into faces: distances from anchors become pixels."""
        candidates = []
        for stride, score, box, points in zip(STRIDES, scores, boxes, landmarks, strict=True):
            for place in np.flatnonzero(score >= self.threshold):
                anchor = _anchors(size, stride)[place]
                corners = np.concatenate([anchor - box[place, :2] * stride, anchor + box[place, 2:] * stride])
                five = anchor + points[place].reshape(5, 2) * stride
                candidates.append(Detection(corners, five, float(score[place])))
        faces: list[Detection] = []
        for face in sorted(candidates, key=lambda face: -face.score):
            if likeness(face.landmarks) >= LIKENESS and all(
                _overlap(face, kept) <= SAME_FACE for kept in faces
            ):
                faces.append(face)
        return faces


def dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an SCRFD graph that takes any number of canvases of any size that is a multiple of 32.

    The published graph is traced at 1 x 3 x 640 x 640: its two upsamplings name their output size, and its
    nine reshapes a batch of one.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    for node in graph.node:
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in constants:
            # Strides of neighbouring levels differ by two.
            scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), f"{node.name}.scales")
            graph.initializer.append(scales)
            node.input[2:] = [scales.name]
        if node.op_type == "Reshape" and node.input[1] in constants:
            shape = numpy_helper.to_array(constants[node.input[1]])
            if len(shape) == 3 and shape[0] == 1:
                kept = np.array([0, *shape[1:]], np.int64)  # 0: as in the input
                graph.initializer.append(numpy_helper.from_array(kept, f"{node.name}.shape"))
                node.input[1] = f"{node.name}.shape"
    for axis, name in ((0, "canvases"), (2, "height"), (3, "width")):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    return model


@cache
def _anchors(size: int, stride: int) -> np.ndarray:
    """Return the points of a canvas that the outputs refer to, float32 (places, 2), in the outputs' order."""
    ys, xs = np.mgrid[: size // stride, : size // stride]
    points = np.stack([xs, ys], axis=-1).reshape(-1, 2) * stride
    return np.repeat(points, ANCHORS, axis=0).astype(np.float32)


def _window(picture: np.ndarray, border: float) -> Window:
    height, width = picture.shape[:2]
    return Window.around((width / 2, height / 2), max(height, width) * (1 + 2 * border))


def _near_window(face: Detection) -> Window:
    x1, y1, x2, y2 = face.box
    return Window.around(((x1 + x2) / 2, (y1 + y2) / 2), max(x2 - x1, y2 - y1) * (1 + 2 * NEAR_LOOK.border))


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
