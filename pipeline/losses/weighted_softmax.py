"""Softmax cross-entropy in which a class counts the more the rarer it is.

Weighted-cluster paper: W_y = N_min / N_y, so the rarest class has weight 1 and all others less.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.losses import Loss
from pipeline.params import Block


class Params(Block):
    """Nothing to set."""


def class_weights(counts: Tensor) -> Tensor:
    """Return N_min / N_y per class, [K]; a class without samples gets 0 and does not count for N_min."""
    counts = counts.float()
    present = counts > 0
    return (counts[present].min() / counts).where(present, counts)


def build(params: Params, counts: Tensor) -> Loss:
    """Return the mean over samples of -sum over classes of weight * target * log softmax(logits)."""
    weights = class_weights(counts)

    def loss(logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets.float(), weight=weights.to(logits.device))

    return loss
