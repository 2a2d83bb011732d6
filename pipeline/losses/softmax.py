"""Softmax cross-entropy with soft targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.losses import Loss
from pipeline.params import Block


class Params(Block):
    """Nothing to set."""


def build(params: Params, counts: Tensor) -> Loss:
    """Return the mean over samples of -sum over classes of target * log softmax(logits)."""

    def loss(logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets.float())

    return loss
