"""Softmax cross-entropy with soft targets and class weights."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss
from pipeline.params.losses import Reduction


class CrossEntropy(Loss):
    """The loss -sum over classes of weight * target * log softmax(logits) of each sample.

    Args:
        reduction: see `Loss`.
        weights: weights of the classes, float32 [K].
    """

    def __init__(self, reduction: Reduction, weights: Tensor) -> None:
        super().__init__(reduction, weights[None])

    def terms(self, logits: Tensor, features: Tensor, targets: Tensor) -> list[Tensor]:
        """Return the cross-entropy, see `Loss`."""
        return [summed_cross_entropy(logits, targets, self.weights[0])]


def summed_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy with class weights [K], summed over the samples, a float32 scalar."""
    return F.cross_entropy(logits.float(), targets, weight=weights, reduction="sum")
