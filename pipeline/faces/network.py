"""Detectors that are networks and run with onnxruntime."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from pipeline.core.errors import UserError, one_line
from pipeline.faces.detection import Detection, FaceDetector, distinct_faces

STRIDES = (8, 16, 32)
ANCHORS = 2  # at each point of the grid


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session on one core, safe to share between threads.

    Each call uses one thread. Several threads with images of their own scale better than several threads that share
    the layers of one image.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class Network:
    """A network that finds faces on any number of canvases of any size. Safe to share between threads."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session(model)
        self._input = self._session.get_inputs()[0].name

    def faces(self, canvases: list[np.ndarray], threshold: float) -> list[list[Detection]]:
        """Return all faces of each canvas, best score first, in pixels of the canvas.

        Args:
            canvases: BGR, uint8, all size x size x 3 with the same size, a multiple of 32.
            threshold: least score of a face, 0 to 1.
        """
        raise NotImplementedError


class NetworkDetector(FaceDetector):
    """A detector that is such a network.

    Attributes:
        kind: name of the network in messages, with its article.
    """

    kind: str

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the network.

        Args:
            weights: an .onnx file for `network`.
            threshold: least score of a face, 0 to 1.

        Raises:
            UserError: the file is not such a network.
        """
        self._threshold = threshold
        try:
            self._network = self.network(onnx.load(weights))
            self.faces([np.zeros((64, 64, 3), np.uint8)] * 2)
        except Exception as error:  # onnx and onnxruntime raise a dozen unrelated types
            raise UserError(
                f"{weights}: not {self.kind} network with five landmarks: {one_line(error)}"
            ) from error

    def network(self, model: onnx.ModelProto) -> Network:
        """Return the network of a model."""
        raise NotImplementedError

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector.faces`."""
        return self._network.faces(canvases, self._threshold)


class Distances(Network):
    """A network in insightface's form, with nine outputs: scores, boxes and landmarks, each for the strides 8, 16, 32.

    Boxes and landmarks are distances from a regular grid of points, in strides, as in insightface's
    `model_zoo/retinaface.py` and `model_zoo/scrfd.py`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(dynamic(model))

    def faces(self, canvases: list[np.ndarray], threshold: float) -> list[list[Detection]]:
        """See `Network.faces`."""
        size = canvases[0].shape[0]
        blob = cv2.dnn.blobFromImages(canvases, 1 / 128, (size, size), (127.5, 127.5, 127.5), swapRB=True)
        outputs = self._session.run(None, {self._input: blob})
        anchors = [(size // stride) ** 2 * ANCHORS for stride in STRIDES]
        scores, boxes, landmarks = (
            [
                output.reshape(len(canvases), count, width)
                for output, count in zip(outputs[first : first + 3], anchors, strict=True)
            ]
            for first, width in ((0, 1), (3, 4), (6, 10))
        )
        faces = []
        for i in range(len(canvases)):
            candidates = []
            for level, stride in enumerate(STRIDES):
                score = scores[level][i, :, 0]
                for row in np.flatnonzero(score >= threshold):
                    anchor = _anchors(size, stride)[row]
                    left_top, right_bottom = boxes[level][i, row].reshape(2, 2) * stride
                    corners = np.concatenate([anchor - left_top, anchor + right_bottom])
                    five = anchor + landmarks[level][i, row].reshape(5, 2) * stride
                    candidates.append(Detection(corners, five, float(score[row])))
            faces.append(distinct_faces(candidates))
        return faces


def dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Change a graph in insightface's form to take any number of canvases of any size that is a multiple of 32.

    The published graphs are traced at 1 x 3 x 640 x 640: two upsamplings have a fixed output size, and nine reshapes
    have a batch of one.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    for node in graph.node:
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in constants:
            # The strides of neighbouring levels differ by a factor of two.
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


def grid(size: int, stride: int) -> np.ndarray:
    """Return the cells of a canvas at a stride, int64 (n, 2), x before y, row by row."""
    ys, xs = np.mgrid[: size // stride, : size // stride]
    return np.stack([xs, ys], axis=-1).reshape(-1, 2)


@cache
def _anchors(size: int, stride: int) -> np.ndarray:
    """Return the points of the grid to which the outputs refer, float32 (n, 2), in the order of the outputs."""
    return np.repeat(grid(size, stride) * stride, ANCHORS, axis=0).astype(np.float32)
