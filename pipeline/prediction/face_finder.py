"""Find and align the faces of images, in any process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.faces.crowd import all_faces
from pipeline.faces.detection import Detection, FaceDetector
from pipeline.faces.detectors import detector_module
from pipeline.faces.extraction import cut
from pipeline.intake.guards import MOST_BYTES, Rejection
from pipeline.intake.image import decode
from pipeline.params.model import Align
from pipeline.prediction.sources import InputImage, opened


@dataclass(frozen=True)
class AlignedFace:
    """A face as the network sees it.

    Attributes:
        pixels: uint8, size x size x channels, as in `data/aligned`.
        detection: box, landmarks and score; None if the whole image stands in for the face.
        main: whether `align` would choose this face of the image.
    """

    pixels: np.ndarray
    detection: Detection | None
    main: bool


@dataclass(frozen=True)
class FaceFinder:
    """Finds and aligns faces as the stage `align` does. It can be pickled.

    Args:
        settings: the model's block `align`. `landmarks: given` has no effect, as no landmarks are given here.
        weights: weights file of the detector that the settings name; None with `mode: none`.
        every: return all faces of an image, or only the one that `align` would choose.
    """

    settings: Align
    weights: Path | None
    every: bool

    def __call__(self, images: list[InputImage]) -> list[list[AlignedFace] | str]:
        """Return the faces of each image from left to right, or why it cannot be read."""
        decoded: list[np.ndarray] = []
        errors: list[str] = []
        for image in images:
            try:
                decoded.append(read(image))
                errors.append("")
            except Rejection as error:
                errors.append(error.detail)
        faces = self._aligned(decoded)
        return [error or next(faces) for error in errors]

    def _aligned(self, images: list[np.ndarray]) -> Iterator[list[AlignedFace]]:
        for image, detections in zip(images, self._detections(images), strict=True):
            left_to_right = sorted(enumerate(detections), key=lambda pair: float(pair[1].box[0]))
            faces = [
                AlignedFace(cut(image, detection, self.settings), detection, number == 0)
                for number, detection in left_to_right
            ]
            if not faces and (self.settings.mode == "none" or self.settings.missing == "keep"):
                faces = [AlignedFace(cut(image, None, self.settings), None, True)]
            yield faces

    def _detections(self, images: list[np.ndarray]) -> list[list[Detection]]:
        """Return the detections in each image; the first is the one that `align` would choose."""
        if self.weights is None or not images:
            return [[] for _ in images]
        detector = _detector(self.settings.detector, self.weights, self.settings.threshold)
        if self.every:
            return all_faces(detector, images, self.settings.turn)
        return [[] if face is None else [face] for face in detector.detect(images, self.settings.turn)]


def read(image: InputImage) -> np.ndarray:
    """Return the pixels of an image, BGR, uint8, H x W x 3. A file is decoded as `ingest` and `align` do.

    Raises:
        Rejection: the image cannot be read, is not an image or is too large.
    """
    if image.error:
        raise Rejection("unreadable_image", image.error)
    if image.pixels is not None:
        return image.pixels
    with opened(image.source.path) as file:
        return decode(file.read(MOST_BYTES))


@cache
def _detector(name: str, weights: Path, threshold: float) -> FaceDetector:
    return detector_module(name).Detector(weights, threshold)
