"""Settings of the losses. `losses.<name>` belongs to the module `pipeline/methods/losses/<name>.py`."""

from __future__ import annotations

from typing import Literal

from pipeline.params.types import UNCHOSEN, Block, NonNegative, Rate

Reduction = Literal["mean", "weighted_mean", "sum"]
ClassWeights = Literal["min_over_count", "normalized", "inverse"]


class SoftmaxSettings(Block):
    """Settings of the softmax."""

    reduction: Reduction


class WeightedSoftmaxSettings(SoftmaxSettings):
    """Settings of the weighted softmax."""

    weights: ClassWeights


class LogitAdjustedSettings(SoftmaxSettings):
    """Settings of the logit-adjusted softmax."""

    tau: NonNegative


class CenterSettings(SoftmaxSettings):
    """Settings of the center loss."""

    weight: NonNegative
    gamma: NonNegative


class WeightedCenterSettings(CenterSettings):
    """Settings of the weighted softmax plus the center loss."""

    weights: ClassWeights
    weigh_centers: bool


class WeightedClusterSettings(CenterSettings):
    """Settings of the weighted-cluster loss."""

    alpha: Rate
    weights: ClassWeights


class Losses(Block):
    """One block for each loss. Only the block of the chosen one is required."""

    softmax: SoftmaxSettings = UNCHOSEN
    weighted_softmax: WeightedSoftmaxSettings = UNCHOSEN
    logit_adjusted: LogitAdjustedSettings = UNCHOSEN
    center: CenterSettings = UNCHOSEN
    weighted_center: WeightedCenterSettings = UNCHOSEN
    weighted_cluster: WeightedClusterSettings = UNCHOSEN
