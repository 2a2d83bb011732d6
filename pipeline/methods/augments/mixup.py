"""Mixup: interpolates two faces and their labels.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; equation 1 of the MixAugment paper.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.params.augments import MixupSettings


def draw(settings: MixupSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda per sample from Beta(alpha, alpha), or `lam`; lambda is 1 where mixup is not applied."""
    applied = rng.random(count) < settings.probability
    return {"lam": np.where(applied, blend(rng, count, settings.alpha, settings.lam), 1.0)}


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Return lam * sample + (1 - lam) * partner for pixels and targets."""
    lam = draws["lam"]
    return [View(mix(images, partner_images, lam), mix(targets, partner_targets, lam))]
