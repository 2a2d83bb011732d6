"""Weighted-cluster loss: features near their class's centre, centres far from each other, rare classes heard.

Ngo & Yoon, "Facial Expression Recognition Based on Weighted-Cluster Loss and Deep Transfer Learning Using a Highly
Imbalanced Dataset", Sensors 2020, equations 4 to 9. Two slips there: the sum over centres leaves out i, the number of
a sample, where it means the sample's class; and equation 8 has the sign of x - c_j with which equation 9 would
drive the centres away from their features. They move towards them, as in Wen et al.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.centers import CenterLoss
from pipeline.methods.losses.parts.weights import class_weights
from pipeline.params.losses import WeightedClusterSettings


class WeightedCluster(CenterLoss):
    """`CenterLoss` with f_k = W_k / (sum over classes j of ||c_j - c_k||^2 + alpha), also the centres' rate.

    Args:
        settings: as in params.yaml.
        weights: W, float32 [K].
        features: D.
    """

    def __init__(self, settings: WeightedClusterSettings, weights: Tensor, features: int) -> None:
        super().__init__(features, settings.weight, settings.gamma, weights, weights)
        self.alpha = settings.alpha

    def factors(self) -> Tensor:
        """Return f, the factor of each class's squared distance, [K]."""
        apart = self._offsets(self.centers).square().sum((1, 2))
        return self.center_weights / (apart + self.alpha)

    def rates(self, targets: Tensor) -> Tensor:
        """Return what multiplies the sum by which each class's centre moves, [K]: equation 8."""
        return self.factors()


def build(settings: WeightedClusterSettings, counts: Tensor, features: int) -> Loss:
    """Return the weighted softmax + weight * the weighted-cluster loss (equation 5)."""
    return WeightedCluster(settings, class_weights(settings.weights, counts), features)
