"""Faces and what the network says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.prediction.finding import Cut
from pipeline.prediction.sources import Shot


@dataclass(frozen=True)
class Expression:
    """A face and what the network says of it.

    Attributes:
        cut: the face.
        probabilities: float32 [K], in the order of the model's classes.
    """

    cut: Cut
    probabilities: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What was found in one picture.

    Attributes:
        shot: the picture.
        faces: from left to right.
        refused: why the picture could not be read; empty if it could.
    """

    shot: Shot
    faces: list[Expression]
    refused: str = ""
