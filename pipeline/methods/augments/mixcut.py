"""MixCut: two faces are interpolated, then a square of the mixture is blacked out.

Yu et al., "MixCut: A Data Augmentation Method for Facial Expression Recognition", equations 1 and 2 and section 2.
Algorithm 1 there differs from both. Its lines 6 and 7 mix a face with itself and its partner's label with itself;
the equations are followed. Its lines 11 and 12 give the square's side as sqrt(1 - eta), where the text removes the
share 1 - eta of the face, a side of sqrt(1 - eta) times the face's: `square` chooses.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.methods.augments.parts import squares
from pipeline.params.augments import MixCutSettings


def draw(settings: MixCutSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda, from Beta(alpha, alpha) or `lam`, and a square of area 1 - Beta(eta, eta) or `area` per sample.

    With `square: algorithm` the side is the area's root in pixels, at most one: a pixel is removed, or none. Where
    MixCut is not applied lambda is 1 and the square is empty.
    """
    applied = rng.random(count) < settings.probability
    lam = np.where(applied, blend(rng, count, settings.alpha, settings.lam), 1.0)
    kept = blend(rng, count, settings.eta, None if settings.area is None else 1 - settings.area)
    area = np.where(applied, 1 - kept, 0.0)
    if settings.square == "algorithm":
        area /= size**2
    return {"lam": lam, **squares.draw(rng, area, size)}


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Return M * [lam * sample + (1 - lam) * partner]; targets mix by lam alone, whatever is removed."""
    lam = draws["lam"]
    mixed = mix(images, partner_images, lam)
    return [View(mixed.mul_(squares.outside(draws, images)), mix(targets, partner_targets, lam))]
