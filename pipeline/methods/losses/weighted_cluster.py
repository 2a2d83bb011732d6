"""Weighted-cluster loss: pulls features to their class's centre, pushes centres apart, and weighs rare classes up.

Ngo & Yoon, "Facial Expression Recognition Based on Weighted-Cluster Loss and Deep Transfer Learning Using a Highly
Imbalanced Dataset", Sensors 2020, equations 4 to 9. The paper has three slips. The sum over centres excludes i, the
index of a sample, but must exclude the sample's class. The sign of x - c_j in equation 8 would make equation 9 move the
centres away from their features; here they move towards them, as in Wen et al. Equation 8 is a sum over the batch
without a limit: in a batch of 128 with seven equally frequent classes, the first step of a centre is 18 times its
distance from the mean of its features. Here a centre moves at most to that mean.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.centers import CenterLoss
from pipeline.methods.losses.parts.weights import class_weights
from pipeline.params.losses import WeightedClusterSettings


class WeightedCluster(CenterLoss):
    """`CenterLoss` with factor and rate f_k = W_k / (sum over classes j of ||c_j - c_k||^2 + alpha).

    Args:
        settings: block `losses.weighted_cluster`.
        features: number of features D.
        weights: class weights W, float32 [K].
    """

    def __init__(self, settings: WeightedClusterSettings, features: int, weights: Tensor) -> None:
        super().__init__(settings, features, weights, weights)
        self.alpha = settings.alpha

    def factors(self) -> Tensor:
        """Return the factor f of each class's squared distance, [K]."""
        spread = self._offsets(self.centers).square().sum((1, 2))
        return self.weights[1] / (spread + self.alpha)

    def rates(self, targets: Tensor) -> Tensor:
        """Return the rate at which each class's centre moves, [K] (equation 8)."""
        return self.factors()


def build(settings: WeightedClusterSettings, counts: Tensor, features: int) -> Loss:
    """Return the weighted softmax + weight * the weighted-cluster loss (equation 5)."""
    return WeightedCluster(settings, features, class_weights(settings.weights, counts))
