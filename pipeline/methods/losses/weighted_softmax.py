"""Weighted softmax: cross-entropy in which rare classes have larger weights.

Weighted-cluster paper (Ngo & Yoon 2020), equations 1 and 6; residual convnet paper, equations 3 and 4, for other
weights.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.cross_entropy import CrossEntropy
from pipeline.methods.losses.parts.weights import class_weights
from pipeline.params.losses import WeightedSoftmaxSettings


def build(settings: WeightedSoftmaxSettings, counts: Tensor, features: int) -> Loss:
    """Return the cross-entropy with class weights from the numbers of training samples."""
    return CrossEntropy(settings.reduction, class_weights(settings.weights, counts))
