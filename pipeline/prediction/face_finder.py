"""Find and align the faces of pictures, in any process."""

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
from pipeline.prediction.sources import InputPicture, opened


@dataclass(frozen=True)
class AlignedFace:
    """A face as the network sees it.

    Attributes:
        pixels: uint8, size x size x channels, as in `data/aligned`.
        detection: box, landmarks and score; None if the whole picture stands in for the face.
        main: whether `align` would choose this face of the picture.
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
        every: return all faces of a picture, or only the one that `align` would choose.
    """

    settings: Align
    weights: Path | None
    every: bool

    def __call__(self, pictures: list[InputPicture]) -> list[list[AlignedFace] | str]:
        """Return the faces of each picture from left to right, or why it cannot be read."""
        decoded: list[np.ndarray] = []
        errors: list[str] = []
        for picture in pictures:
            try:
                decoded.append(read(picture))
                errors.append("")
            except Rejection as error:
                errors.append(error.detail)
        faces = self._aligned(decoded)
        return [error or next(faces) for error in errors]

    def _aligned(self, pictures: list[np.ndarray]) -> Iterator[list[AlignedFace]]:
        for picture, detections in zip(pictures, self._detections(pictures), strict=True):
            left_to_right = sorted(enumerate(detections), key=lambda pair: float(pair[1].box[0]))
            faces = [
                AlignedFace(cut(picture, detection, self.settings), detection, number == 0)
                for number, detection in left_to_right
            ]
            if not faces and (self.settings.mode == "none" or self.settings.missing == "keep"):
                faces = [AlignedFace(cut(picture, None, self.settings), None, True)]
            yield faces

    def _detections(self, pictures: list[np.ndarray]) -> list[list[Detection]]:
        """Return the detections in each picture; the first is the one that `align` would choose."""
        if self.weights is None or not pictures:
            return [[] for _ in pictures]
        detector = _detector(self.settings.detector, self.weights, self.settings.threshold)
        if self.every:
            return all_faces(detector, pictures, self.settings.turn)
        return [[] if face is None else [face] for face in detector.detect(pictures, self.settings.turn)]


def read(picture: InputPicture) -> np.ndarray:
    """Return the pixels of a picture, BGR, uint8, H x W x 3. A file is decoded as `ingest` and `align` do.

    Raises:
        Rejection: the picture cannot be read, is not a picture or is too large.
    """
    if picture.error:
        raise Rejection("unreadable_image", picture.error)
    if picture.pixels is not None:
        return picture.pixels
    with opened(picture.source.path) as file:
        return decode(file.read(MOST_BYTES))


@cache
def _detector(name: str, weights: Path, threshold: float) -> FaceDetector:
    return detector_module(name).Detector(weights, threshold)
