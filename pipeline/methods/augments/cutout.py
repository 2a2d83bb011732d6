"""Cutout: a square of fixed area is blacked out; the label stays.

DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. The MixCut paper
compares with an area of 0.25 and probability 1.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.methods.augments import Draws, View
from pipeline.methods.augments.parts import squares
from pipeline.params.augments import CutoutSettings


def draw(settings: CutoutSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw one square per sample; a sample that is left alone gets an empty one."""
    area = np.where(rng.random(count) < settings.probability, settings.area, 0.0)
    return squares.draw(rng, area, size)


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Black out each sample's square (`y1`, `y2`, `x1`, `x2`)."""
    return [View(images * squares.outside(draws, images), targets)]
