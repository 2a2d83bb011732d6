"""Center loss with weighted softmax: weighted cross-entropy plus the distance of features from their class's centre.

Weighted-cluster paper (Ngo & Yoon 2020), section 4.3: equation 3 with weighted softmax instead of softmax, and
unweighted distances.
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

    With `weigh_centers` the distance also has the weight W_y. The rule that moves the centres stays the same: a centre
    follows the mean of its class's features, which a common weight does not change.
    """
    weights = class_weights(settings.weights, counts)
    distances = weights if settings.weigh_centers else torch.ones_like(weights)
    return CenterLoss(settings, features, weights, distances)
