"""MixCut: two faces are interpolated, then a square of the mixture is blacked out.

Yu et al., "MixCut: A Data Augmentation Method for Facial Expression Recognition", equations 1 and 2 and section 2.
Algorithm 1 there has slips (line 6 mixes a face with itself, lines 11 and 12 leave out the face's side); the
equations and the text are followed.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.augment import Draws, View, _squares, mix
from pipeline.params import Block, Fraction, Rate


class Params(Block):
    """Settings of MixCut; the defaults are the paper's."""

    probability: Fraction = 0.5
    alpha: Rate = 1.0
    eta: Rate = 1.0


def draw(params: Params, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda ~ Beta(alpha, alpha) and a square of area 1 - Beta(eta, eta) per sample.

    Where MixCut is not applied lambda is 1 and the square is empty.
    """
    applied = rng.random(count) < params.probability
    lam = np.where(applied, rng.beta(params.alpha, params.alpha, count), 1.0)
    area = np.where(applied, 1 - rng.beta(params.eta, params.eta, count), 0.0)
    return {"lam": lam, **_squares.draw(rng, area, size)}


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Return M * [lam * sample + (1 - lam) * partner]; targets mix by lam alone, whatever is removed."""
    lam = draws["lam"]
    mixed = mix(images, partner_images, lam).masked_fill(_squares.inside(draws, images), 0.0)
    return [View(mixed, mix(targets, partner_targets, lam))]
