"""Weights of the classes in a loss, from their numbers of training samples."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.params.losses import ClassWeights


def class_weights(rule: ClassWeights, counts: Tensor) -> Tensor:
    """Return the weight of each class, float32 [K]; 0 for a class without samples.

    With N samples, N_y of them of class y:

    * `min_over_count`: N_min / N_y, so the rarest class has weight 1 (weighted-cluster paper, equation 6);
    * `normalized`: 1 - N_y / N (residual convnet paper, equation 3);
    * `inverse`: 1 / N_y (residual convnet paper, equation 4), scaled so that the mean weight over all training samples
      is 1. Without the scale, a loss with reduction `mean` or `sum` and every step would be thousands of times smaller.
      With `weighted_mean` the scale has no effect.

    Args:
        rule: `min_over_count`, `normalized` or `inverse`.
        counts: number of training samples of each class, [K]; at least one is not 0.
    """
    counts = counts.float()
    present = counts > 0
    if rule == "normalized":
        weights = 1 - counts / counts.sum()
    elif rule == "inverse":
        weights = counts.sum() / (present.sum() * counts)
    else:
        weights = counts[present].min() / counts
    return weights.where(present, torch.zeros_like(counts))
