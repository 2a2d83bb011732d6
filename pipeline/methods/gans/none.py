"""No GAN: the training set holds real faces only."""

from __future__ import annotations

import numpy as np

from pipeline.methods.gans import Generator


def generators(faces: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Generator]:
    """Return no generator."""
    return {}
