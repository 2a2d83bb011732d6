"""MixCut: interpolates two faces and blacks out a square of the result.

Yu et al., "MixCut: A Data Augmentation Method for Facial Expression Recognition", equations 1 and 2 and section 2.
Algorithm 1 of the paper differs from both. Its lines 6 and 7 mix a face with itself and the partner's label with
itself; this module follows the equations. In its lines 11 and 12 the square's side is sqrt(1 - eta) pixels. In the text
the square covers the share 1 - eta of the face, so its side is sqrt(1 - eta) times the face's. The setting `square`
chooses.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.methods.augments.parts import squares
from pipeline.params.augments import MixCutSettings


def draw(settings: MixCutSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda and a square per sample.

    Lambda is drawn from Beta(alpha, alpha), or is `lam`. The square's area is 1 - Beta(eta, eta), or `area`. With
    `square: algorithm` its side is the root of the area in pixels, which removes one pixel or none. Where MixCut is not
    applied, lambda is 1 and the square is empty.
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
    """Return M * [lam * sample + (1 - lam) * partner]. Targets mix by lam alone, whatever the square removes."""
    lam = draws["lam"]
    mixed = mix(images, partner_images, lam)
    return [View(mixed.mul_(squares.outside(draws, images)), mix(targets, partner_targets, lam))]
