"""What the detectors that run through onnxruntime share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from pipeline.core.errors import UserError, one_line
from pipeline.faces.detection import Detection, Search, distinct

STRIDES = (8, 16, 32)
ANCHORS = 2  # per place


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session on one core of the processor, safe to share between threads.

    One thread per call: the caller's threads each work on pictures of their own, which scales better than
    sharing the layers of one.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class Network:
    """A network that finds faces on canvases of any size, as many as are given. Safe to share between threads."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session(model)
        self._input = self._session.get_inputs()[0].name

    def faces(self, canvases: list[np.ndarray], threshold: float) -> list[list[Detection]]:
        """Return all faces of each canvas, best score first, in pixels of the canvas.

        Args:
            canvases: BGR, uint8, all size x size x 3 with the same size, a multiple of 32.
            threshold: the least score of a face, 0 to 1.
        """
        raise NotImplementedError


class NetworkDetector:
    """A detector that is such a network. Safe to share between threads.

    Attributes:
        kind: what its weights are called in a message, with its article.
        search: its way from coarse to fine.
    """

    kind: str
    search: Search

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the network.

        Args:
            weights: an .onnx file that `network` reads.
            threshold: the least score of a face, 0 to 1.

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
        """Return the network that a model is."""
        raise NotImplementedError

    def detect(self, pictures: list[np.ndarray]) -> list[Detection | None]:
        """Return the chosen face of each picture (BGR, uint8, H x W x 3), None where there is none."""
        return self.search.chosen(pictures, self.faces)

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """Return all faces of each canvas, best score first, in pixels of the canvas; see `Network.faces`."""
        return self._network.faces(canvases, self._threshold)


class Distances(Network):
    """A network of insightface's form: nine outputs, scores, boxes and landmarks, each for the strides 8, 16, 32.

    Boxes and landmarks are distances from a regular grid of points, in strides (insightface,
    `model_zoo/retinaface.py` and `model_zoo/scrfd.py`, which decode alike).
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(dynamic(model))

    def faces(self, canvases: list[np.ndarray], threshold: float) -> list[list[Detection]]:
        """See `Network.faces`."""
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
        faces = []
        for i in range(len(canvases)):
            candidates = []
            for level, stride in enumerate(STRIDES):
                score = scores[level][i, :, 0]
                for place in np.flatnonzero(score >= threshold):
                    anchor = _anchors(size, stride)[place]
                    left_top, right_bottom = boxes[level][i, place].reshape(2, 2) * stride
                    corners = np.concatenate([anchor - left_top, anchor + right_bottom])
                    five = anchor + landmarks[level][i, place].reshape(5, 2) * stride
                    candidates.append(Detection(corners, five, float(score[place])))
            faces.append(distinct(candidates))
        return faces


def dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph of insightface's form that takes any number of canvases of any size that is a multiple of 32.

    The published graphs are traced at 1 x 3 x 640 x 640: two upsamplings name their output size, and nine
    reshapes a batch of one.
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


def grid(size: int, stride: int) -> np.ndarray:
    """Return the cells of a canvas at a stride, int64 (places, 2), x before y, row by row."""
    ys, xs = np.mgrid[: size // stride, : size // stride]
    return np.stack([xs, ys], axis=-1).reshape(-1, 2)


@cache
def _anchors(size: int, stride: int) -> np.ndarray:
    """Return the points of a canvas that the outputs refer to, float32 (places, 2), in the outputs' order."""
    return np.repeat(grid(size, stride) * stride, ANCHORS, axis=0).astype(np.float32)
