"""Losses that pull features to a centre of their class.

The centres follow the features by a rule of their own instead of a gradient. An optimiser would move a centre in
proportion to the samples of its class in a batch, so centres of rare classes would hardly move.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import Loss


class CenterLoss(Loss):
    """Cross-entropy plus `weight` times half the squared distance of a sample from its class's centre.

    For one sample with features x and targets t, centres c and factors f (1 in Wen et al. 2016):

        sum over classes k of  t_k * (-w_k * log softmax(logits)_k + weight * f_k / 2 * ||x - c_k||^2)

    and the mean of that over the samples. With one-hot targets only the term of the label remains. It is the papers'
    equation, with a mean instead of a sum. With mixed targets the terms mix as the targets do. No gradient flows into
    the centres. A step moves each centre by

        gamma * rate_k * sum over samples of t_k * (x - c_k),  rate_k = 1 / (1 + sum over samples of t_k),

    which is equation 4 of Wen et al. for one-hot targets. Centres start at 0, as the papers name no start.

    Args:
        features: number of features D.
        weight: weight of the distances, lambda in the papers.
        gamma: learning rate of the centres.
        softmax_weights: weights w of the cross-entropy, float32 [K].
        center_weights: factors f of the distances, float32 [K].
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
        """Return the factor f of each class's squared distance, [K]."""
        return self.center_weights

    def rates(self, targets: Tensor) -> Tensor:
        """Return the rate at which each class's centre moves, [K]."""
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
        """Return the features minus each centre, float32 [N, K, D].

        The difference is taken before squaring. Expanding the square to a matrix product in bfloat16 gave 2,496 for a
        squared distance of 0.2.
        """
        return features.float()[:, None] - self.centers
