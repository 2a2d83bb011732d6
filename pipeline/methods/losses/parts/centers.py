"""Losses that pull features to a centre of their class.

The centres follow the features by a rule of their own instead of a gradient. An optimiser would move a centre in
proportion to the samples of its class in a batch, so centres of rare classes would hardly move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.cross_entropy import summed_cross_entropy
from pipeline.params.losses import CenterSettings


class CenterLoss(Loss):
    """Cross-entropy plus `weight` times half the squared distance of a sample from its class's centre.

    For one sample with features x and targets t, centres c and factors f (1 in Wen et al. 2016), the terms are

        sum over classes k of  -t_k * w_k * log softmax(logits)_k
        sum over classes k of  t_k * weight * f_k / 2 * ||x - c_k||^2

    With one-hot targets only the term of the label remains. With mixed targets the terms mix as the targets do. The
    papers' equations are sums over a batch (`reduction: sum`). With `weighted_mean` the cross-entropy is divided by the
    sum of its weights w, and the distance by the sum of `center_weights`: if these are 1, by the number of samples.

    No gradient flows into the centres. A step moves each centre by

        gamma * rate_k * sum over samples of t_k * (x - c_k),  rate_k = 1 / (1 + sum over samples of t_k),

    which is equation 4 of Wen et al. for one-hot targets. gamma * rate_k is at most 1 / sum over samples of t_k, so a
    centre never passes the mean of its features. Centres start at 0, as the papers name no start.

    Args:
        settings: of the loss.
        features: number of features D.
        softmax_weights: weights w of the cross-entropy, float32 [K].
        center_weights: class weights of the distances, float32 [K].
    """

    centers: Tensor

    def __init__(
        self, settings: CenterSettings, features: int, softmax_weights: Tensor, center_weights: Tensor
    ) -> None:
        super().__init__(settings.reduction, torch.stack([softmax_weights, center_weights]))
        self.weight, self.gamma = settings.weight, settings.gamma
        self.register_buffer("centers", torch.zeros(len(softmax_weights), features))

    def factors(self) -> Tensor:
        """Return the factor f of each class's squared distance, [K]."""
        return self.weights[1]

    def rates(self, targets: Tensor) -> Tensor:
        """Return the rate at which each class's centre moves, [K]."""
        return 1 / (1 + targets.sum(0))

    def terms(self, logits: Tensor, features: Tensor, targets: Tensor) -> list[Tensor]:
        """Return the cross-entropy and the distances, see `Loss`."""
        distance = self._offsets(features).square().sum(2)
        distances = self.weight / 2 * (targets * self.factors() * distance).sum()
        return [summed_cross_entropy(logits, targets, self.weights[0]), distances]

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move the centres towards the features of a step, see `Loss`."""
        targets = targets.float()
        moves = (targets[:, :, None] * self._offsets(features)).sum(0)
        rates = torch.minimum(self.gamma * self.rates(targets), 1 / targets.sum(0))
        self.centers += rates[:, None] * moves

    def _offsets(self, features: Tensor) -> Tensor:
        """Return the features minus each centre, float32 [N, K, D].

        The difference is taken before squaring. Expanding the square to a matrix product in bfloat16 gave 2,496 for a
        squared distance of 0.2.
        """
        return features.float()[:, None] - self.centers
