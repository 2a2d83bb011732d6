"""Softmax cross-entropy in which a class counts the more the rarer it is.

Weighted-cluster paper (Ngo & Yoon 2020), equations 1 and 6; residual-convnet paper, equations 3 and 4, for other
weights.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.weights import class_weights
from pipeline.params.losses import WeightedSoftmaxSettings


class WeightedSoftmax(Loss):
    """The mean over samples of -sum over classes of weight * target * log softmax(logits).

    Args:
        weights: of the classes, float32 [K].
    """

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, see `Loss`."""
        return F.cross_entropy(logits.float(), targets.float(), weight=self.weights)


def build(settings: WeightedSoftmaxSettings, counts: Tensor, features: int) -> Loss:
    """Return the loss with weights from the number of training samples of each class."""
    return WeightedSoftmax(class_weights(settings.weights, counts))
