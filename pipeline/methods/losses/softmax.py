"""Softmax cross-entropy with soft targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss
from pipeline.params.types import NoSettings


class Softmax(Loss):
    """The mean over samples of -sum over classes of target * log softmax(logits)."""

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, see `Loss`."""
        return F.cross_entropy(logits.float(), targets.float())


def build(settings: NoSettings, counts: Tensor, features: int) -> Loss:
    """Return the loss."""
    return Softmax()
