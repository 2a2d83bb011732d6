"""Faces and the expressions that the network assigns to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.prediction.face_finder import AlignedFace
from pipeline.prediction.sources import InputImage


@dataclass(frozen=True)
class Expression:
    """A face and its class probabilities.

    Attributes:
        face: the aligned face.
        probabilities: float32 [K].
        classes: K names, in the order of the probabilities.
    """

    face: AlignedFace
    probabilities: np.ndarray
    classes: Sequence[str]

    @property
    def index(self) -> int:
        """Index of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.classes[self.index]

    @property
    def confidence(self) -> float:
        """Probability of the label."""
        return float(self.probabilities[self.index])

    @property
    def caption(self) -> str:
        """Label and confidence: `happiness 0.93`."""
        return f"{self.label} {self.confidence:.2f}"


@dataclass(frozen=True)
class Prediction:
    """The expressions in one image.

    Attributes:
        image: the image.
        faces: its faces from left to right.
        error: why the image could not be read; empty if it could.
    """

    image: InputImage
    faces: list[Expression]
    error: str = ""
