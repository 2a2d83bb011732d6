"""Center loss beside the weighted softmax.

Weighted-cluster paper (Ngo & Yoon 2020), section 4.3: equation 3 with the weighted softmax in the softmax's place,
and no weight on the distances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import Loss
from pipeline.losses._centers import CenterLoss
from pipeline.losses._weights import class_weights
from pipeline.params import Block, ClassWeights, NonNegative


class Params(Block):
    """Settings of the center loss with class weights: those of the paper, `gamma` of Wen et al."""

    weight: NonNegative = 0.5
    gamma: NonNegative = 0.5
    weights: ClassWeights = "min_over_count"
    weigh_centers: bool = False


def build(params: Params, counts: Tensor, features: int) -> Loss:
    """Return weighted softmax + weight / 2 * ||x - c_y||^2, see `CenterLoss`.

    With `weigh_centers` W_y stands before the distance as well. The centres' own rule stays: it follows the mean
    of a class's features, which a weight common to all of them does not change.
    """
    weights = class_weights(params.weights, counts)
    distances = weights if params.weigh_centers else torch.ones_like(weights)
    return CenterLoss(features, params.weight, params.gamma, weights, distances)
