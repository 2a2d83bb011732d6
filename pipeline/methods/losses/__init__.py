"""One module per loss. A loss is computed in float32 from logits, features and soft targets.

A module offers `build(settings, counts, features) -> Loss`. `counts` [K] is the number of training samples of each
class, `features` the number D of features of the network. The settings are a class in `pipeline/params/losses.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.params.losses import Reduction


class Loss(nn.Module):
    """A loss: the sum of its terms. Its state between steps is in buffers, which a checkpoint stores.

    On a GPU `forward` is recorded and replayed (`pipeline.training.replay`), so a Python number would never change.

    Args:
        reduction: what the sum over the samples of a batch is divided by: with `mean` their number, with `sum` 1. With
            `weighted_mean` each term is divided by the sum of its own class weights: a sample counts with target x
            weight, summed over the classes. With class indices this is torch's CrossEntropyLoss(weight=...).
        weights: class weights of each term, float32 [T, K].
    """

    weights: Tensor

    def __init__(self, reduction: Reduction, weights: Tensor) -> None:
        super().__init__()
        self.reduction = reduction
        self.register_buffer("weights", weights, persistent=False)

    def terms(self, logits: Tensor, features: Tensor, targets: Tensor) -> list[Tensor]:
        """Return the T terms, float32 scalars summed over the samples; the arguments are those of `forward`."""
        raise NotImplementedError

    def forward(
        self, logits: Tensor, features: Tensor, targets: Tensor, totals: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: [N, K].
            features: [N, D], input of the network's last layer.
            targets: [N, K], rows of sum 1.
            totals: the sum of the targets of a larger batch, [K], of which these samples are a part. The losses of all
                parts add up to the loss of the batch. None: the samples are the whole batch.
        """
        sums = torch.stack(self.terms(logits, features, targets.float()))
        if self.reduction == "sum":
            return sums.sum()
        if self.reduction == "mean":
            return (sums / (len(targets) if totals is None else totals.sum())).sum()
        totals = targets.float().sum(0) if totals is None else totals
        weight = (self.weights * totals).sum(1)
        # All weights of a batch may be 0. Its loss is then 0 as well.
        return (sums / weight.clamp_min(torch.finfo(weight.dtype).tiny)).sum()

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Update the state of the loss, once per step after the gradients. Most losses have no state.

        Args:
            features: [N, D], features of the last view of the batch, which MixAugment uses for the real faces.
            targets: [N, K], targets of that view.
        """
