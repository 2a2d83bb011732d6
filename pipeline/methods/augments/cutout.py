"""Cutout: blacks out a square of fixed area and keeps the label.

DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. The MixCut paper
uses an area of 0.25 and a probability of 1 in its comparison.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View
from pipeline.methods.augments.parts import squares
from pipeline.params.augments import CutoutSettings


def draw(settings: CutoutSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw one square per sample; the square is empty where cutout is not applied."""
    area = np.where(rng.random(count) < settings.probability, settings.area, 0.0)
    return squares.draw(rng, area, size)


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Black out the square of each sample (`y1`, `y2`, `x1`, `x2`)."""
    return [View(images * squares.outside(draws, images), targets)]
