"""CutMix: pastes in a square of another face and mixes the labels by the pasted area.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
Squares are clipped at the border, which moves the mean lambda from 0.50 to 0.69 at 48 pixels. Labels therefore mix by
the area after clipping; otherwise they would be wrong by that difference.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.methods.augments.parts import squares
from pipeline.params.augments import CutMixSettings


def draw(settings: CutMixSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw a square of area 1 - lambda per sample; the square is empty where CutMix is not applied.

    Lambda is drawn from Beta(alpha, alpha), or is `lam`.
    """
    applied = rng.random(count) < settings.probability
    lam = blend(rng, count, settings.alpha, settings.lam)
    return squares.draw(rng, np.where(applied, 1 - lam, 0.0), size)


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Paste in the partner's square (`y1`, `y2`, `x1`, `x2`) and mix the targets by the area outside it."""
    kept = squares.outside(draws, images)
    pasted = torch.lerp(partner_images, images, kept, out=kept)
    return [View(pasted, mix(targets, partner_targets, 1 - squares.share(draws, images)))]
