"""MixAugment: trains on the mixed face and on both real faces in the same step.

Psaroudakis & Kollias, "MixAugment & Mixup: Augmentation Methods for Facial Expression Recognition", equation 3:
the loss is the sum of the losses of the mixed face and of the two real faces. The equation applies to every step, so
there is no probability. The paper compares the alphas 0.1, 0.2, 0.6 and 1.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.params.augments import MixAugmentSettings


def draw(settings: MixAugmentSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda per sample from Beta(alpha, alpha), or `lam`."""
    return {"lam": blend(rng, count, settings.alpha, settings.lam)}


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Return the mixed view, and the real view with weight 2.

    The partners are a permutation of the batch, so their mean loss equals that of the samples. Two forward passes thus
    give all three terms. The real view comes last, because losses with centres update them from the last view.
    """
    lam = draws["lam"]
    mixed = View(mix(images, partner_images, lam), mix(targets, partner_targets, lam))
    return [mixed, View(images, targets, weight=2.0)]
