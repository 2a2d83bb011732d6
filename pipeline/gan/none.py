"""No GAN: the training set is the real faces alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.gan import Generator
from pipeline.params import Block


class Params(Block):
    """Nothing to set."""


def fit(
    params: Params,
    faces: np.ndarray,
    labels: np.ndarray,
    targets: Sequence[str],
    seed: int,
    device: torch.device,
) -> dict[str, Generator]:
    """Return no generator."""
    return {}
