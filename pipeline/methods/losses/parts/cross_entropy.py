"""Softmax cross-entropy with soft targets, with or without class weights."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss


class CrossEntropy(Loss):
    """The mean over samples of -sum over classes of weight * target * log softmax(logits).

    Args:
        weights: weights of the classes, float32 [K]; None: 1 for each class.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, see `Loss`."""
        return F.cross_entropy(logits.float(), targets.float(), weight=self.weights)
