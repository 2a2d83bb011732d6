"""Center loss beside the weighted softmax.

Weighted-cluster paper (Ngo & Yoon 2020), section 4.3: equation 3 with the weighted softmax in the softmax's place,
and no weight on the distances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.centers import CenterLoss
from pipeline.methods.losses.parts.weights import class_weights
from pipeline.params.losses import WeightedCenterSettings


def build(settings: WeightedCenterSettings, counts: Tensor, features: int) -> Loss:
    """Return weighted softmax + weight / 2 * ||x - c_y||^2, see `CenterLoss`.

    With `weigh_centers` W_y stands before the distance as well. The centres' own rule stays: it follows the mean
    of a class's features, which a weight common to all of them does not change.
    """
    weights = class_weights(settings.weights, counts)
    distances = weights if settings.weigh_centers else torch.ones_like(weights)
    return CenterLoss(features, settings.weight, settings.gamma, weights, distances)
