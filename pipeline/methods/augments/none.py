"""No augmentation except crop and mirror: the baseline."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View
from pipeline.params.types import NoSettings


def draw(settings: NoSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw nothing."""
    return {}


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Return the batch unchanged."""
    return [View(images, targets)]
