"""Losses with a centre for each class in the space of features, which the features are drawn to.

Centres follow the features by a rule of their own, not by a gradient: under an optimiser the centre of a class
moves with the number of its samples in a batch, and those of rare classes hardly move.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss


class CenterLoss(Loss):
    """Cross-entropy, and `weight` times half the squared distance of a sample from its class's centre.

    For one sample with features x and targets t, centres c and factors f (1 in Wen et al. 2016):

        sum over classes k of  t_k * (-w_k * log softmax(logits)_k + weight * f_k / 2 * ||x - c_k||^2)

    and the mean of that over the samples. With one-hot targets only the term of the label is left, which is the
    papers' equation (with a mean for their sum); the terms of mixed targets mix as the targets do. No gradient
    flows into the centres. A step moves each of them by

        gamma * rate_k * sum over samples of t_k * (x - c_k),  rate_k = 1 / (1 + sum over samples of t_k),

    which is equation 4 of Wen et al. for one-hot targets. Centres begin at 0: the papers do not say where.

    Args:
        features: D.
        weight: of the distances, lambda in the papers.
        gamma: learning rate of the centres.
        softmax_weights: w, float32 [K].
        center_weights: f, float32 [K].
    """

    centers: Tensor
    softmax_weights: Tensor
    center_weights: Tensor

    def __init__(
        self, features: int, weight: float, gamma: float, softmax_weights: Tensor, center_weights: Tensor
    ) -> None:
        super().__init__()
        self.weight, self.gamma = weight, gamma
        self.register_buffer("centers", torch.zeros(len(softmax_weights), features))
        self.register_buffer("softmax_weights", softmax_weights, persistent=False)
        self.register_buffer("center_weights", center_weights, persistent=False)

    def factors(self) -> Tensor:
        """Return f, the factor of each class's squared distance, [K]."""
        return self.center_weights

    def rates(self, targets: Tensor) -> Tensor:
        """Return what multiplies the sum by which each class's centre moves, [K]."""
        return 1 / (1 + targets.sum(0))

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, see `Loss`."""
        targets = targets.float()
        entropy = F.cross_entropy(logits.float(), targets, weight=self.softmax_weights)
        distance = self._offsets(features).square().sum(2)
        return entropy + self.weight / 2 * (targets * self.factors() * distance).sum(1).mean()

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move the centres towards the features of a step, see `Loss`."""
        targets = targets.float()
        moves = (targets[:, :, None] * self._offsets(features)).sum(0)
        self.centers += self.gamma * self.rates(targets)[:, None] * moves

    def _offsets(self, features: Tensor) -> Tensor:
        """Return the features less each centre, float32 [N, K, D].

        Subtracted before anything is squared or summed, and never by a matrix product: in bfloat16, the expanded
        square gives 2,496 where the squared distance is 0.2.
        """
        return features.float()[:, None] - self.centers
