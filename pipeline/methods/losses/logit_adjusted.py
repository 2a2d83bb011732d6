"""Logit-adjusted softmax: rare classes have to win by a larger margin in training.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10. In training only, the logits are raised
by `tau` times the logarithm of each class's share of the training faces. With `tau` 1 the network learns to balance the
classes' errors: its predictions aim at macro recall.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.cross_entropy import CrossEntropy
from pipeline.params.losses import LogitAdjustedSettings


class LogitAdjusted(CrossEntropy):
    """Cross-entropy of logits that are raised by a constant of each class.

    Args:
        settings: of the loss.
        counts: training samples of each class, [K]. A class without any counts as if it had one.
    """

    offsets: Tensor

    def __init__(self, settings: LogitAdjustedSettings, counts: Tensor) -> None:
        super().__init__(settings.reduction, torch.ones(len(counts)))
        shares = counts.clamp_min(1).double() / counts.sum()
        self.register_buffer("offsets", (settings.tau * shares.log()).float(), persistent=False)

    def terms(self, logits: Tensor, features: Tensor, targets: Tensor) -> list[Tensor]:
        """Return the cross-entropy of the raised logits, see `Loss`."""
        return super().terms(logits.float() + self.offsets, features, targets)


def build(settings: LogitAdjustedSettings, counts: Tensor, features: int) -> Loss:
    """Return the loss -sum over classes of target * log softmax(logits + tau * log share) of each sample."""
    return LogitAdjusted(settings, counts)
