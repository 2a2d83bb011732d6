"""No GAN: the training set is the real faces alone."""

from __future__ import annotations

import numpy as np

from pipeline.gan import Generator
from pipeline.params import Block


class Params(Block):
    """Nothing to set."""


def generators(faces: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Generator]:
    """Return no generator."""
    return {}
