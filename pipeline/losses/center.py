"""Center loss: softmax, and features drawn to their class's centre.

Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016; equations 2 and 3 of
the weighted-cluster paper (Ngo & Yoon 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import Loss
from pipeline.losses._centers import CenterLoss
from pipeline.params import Block, NonNegative


class Params(Block):
    """Settings of the center loss: `weight` of the weighted-cluster paper, `gamma` of Wen et al."""

    weight: NonNegative = 0.5
    gamma: NonNegative = 0.5


def build(params: Params, counts: Tensor, features: int) -> Loss:
    """Return softmax cross-entropy + weight / 2 * ||x - c_y||^2, see `CenterLoss`."""
    ones = torch.ones_like(counts, dtype=torch.float32)
    return CenterLoss(features, params.weight, params.gamma, ones, ones)
