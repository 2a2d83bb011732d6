"""From pictures to aligned faces, in any process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.core.errors import one_line
from pipeline.faces.crowd import all_faces
from pipeline.faces.detection import Detection, FaceDetector
from pipeline.faces.detectors import detector_module
from pipeline.faces.extraction import cut
from pipeline.intake.image import decode
from pipeline.intake.listing import Refused
from pipeline.params.model import Align
from pipeline.prediction.sources import Shot

# Decoded pictures that a worker holds at a time: eight of 12 megapixels.
PIXEL_BYTES = 8 * 36 * 2**20


@dataclass(frozen=True)
class Cut:
    """What the network sees of one face.

    Attributes:
        pixels: uint8, size x size x channels, as in `data/aligned`.
        face: where it was found; None if the whole picture stands in for it.
        main: whether it is the one that `align` takes from the picture.
    """

    pixels: np.ndarray
    face: Detection | None
    main: bool


@dataclass(frozen=True)
class Finder:
    """Finds and cuts out faces as `align` does; survives pickling.

    Args:
        settings: the model's block `align`. Its `landmarks: given` does not count: strangers' pictures give none.
        weights: file of the detector that the settings name; None with `mode: none`.
        every: whether all faces are wanted or the one that `align` takes.
    """

    settings: Align
    weights: Path | None
    every: bool

    def __call__(self, shots: list[Shot]) -> list[list[Cut] | str]:
        """Return the faces of each shot from left to right, or why it cannot be read."""
        found: list[list[Cut] | str] = []
        waiting: list[np.ndarray] = []
        for shot in shots:
            try:
                waiting.append(read(shot))
            except Refused as why:
                found += [*self._cuts(waiting), why.detail]
                waiting = []
            if sum(picture.nbytes for picture in waiting) > PIXEL_BYTES:
                found += self._cuts(waiting)
                waiting = []
        return [*found, *self._cuts(waiting)]

    def _cuts(self, pictures: list[np.ndarray]) -> Iterator[list[Cut]]:
        for picture, faces in zip(pictures, self._faces(pictures), strict=True):
            rows = [(face, place == 0) for place, face in enumerate(faces)]
            rows.sort(key=lambda row: float(row[0].box[0]))
            cuts = [Cut(cut(picture, face, self.settings), face, main) for face, main in rows]
            if not cuts and (self.settings.mode == "none" or self.settings.missing == "keep"):
                cuts = [Cut(cut(picture, None, self.settings), None, True)]
            yield cuts

    def _faces(self, pictures: list[np.ndarray]) -> list[list[Detection]]:
        """Return the faces of each picture, `align`'s first."""
        if self.weights is None or not pictures:
            return [[] for _ in pictures]
        name = self.settings.detector
        detector = _detector(name, self.weights, self.settings.threshold)
        if self.every:
            return all_faces(name, detector, pictures)
        return [[] if face is None else [face] for face in detector.detect(pictures)]


def read(shot: Shot) -> np.ndarray:
    """Return a shot's picture, BGR, uint8, H x W x 3: of a file what `ingest` accepts, as `align` decodes it.

    Raises:
        Refused: it cannot be read, is no picture, or too large.
    """
    if shot.refused:
        raise Refused("unreadable_image", shot.refused)
    if shot.pixels is not None:
        return shot.pixels
    try:
        pixels = decode(Path(shot.source.path).read_bytes())
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or one_line(error)
        raise Refused("unreadable_image", f"cannot be read: {said}") from None
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)


@cache
def _detector(name: str, weights: Path, threshold: float) -> FaceDetector:
    return detector_module(name).Detector(weights, threshold)
