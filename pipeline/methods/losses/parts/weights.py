"""Class weights: how much a class counts in a loss, from the number of its training samples."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.params.losses import ClassWeights


def class_weights(rule: ClassWeights, counts: Tensor) -> Tensor:
    """Return the weight of each class, float32 [K]; 0 for a class without samples.

    With N_y samples of class y among N:

    * `min_over_count`: N_min / N_y, so the rarest class has weight 1 (weighted-cluster paper, equation 6);
    * `normalized`: 1 - N_y / N (residual-convnet paper, equation 3);
    * `inverse`: 1 / N_y (there, equation 4), times the constant that makes the weights of all training samples
      average 1. Unscaled the loss would be thousands of times smaller, and with it every step: losses here are
      means over samples, and do not divide by the weights' sum.

    Args:
        rule: one of the three.
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
