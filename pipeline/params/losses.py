"""Settings of the losses. `losses.<name>` belongs to the module `pipeline/methods/losses/<name>.py`."""

from __future__ import annotations

from typing import Literal

from pipeline.params.types import UNCHOSEN, Block, NonNegative, NoSettings, Rate

ClassWeights = Literal["min_over_count", "normalized", "inverse"]


class WeightedSoftmaxSettings(Block):
    """Settings of the weighted softmax."""

    weights: ClassWeights


class CenterSettings(Block):
    """Settings of the center loss."""

    weight: NonNegative
    gamma: NonNegative


class WeightedCenterSettings(CenterSettings):
    """Settings of the weighted softmax plus the center loss."""

    weights: ClassWeights
    weigh_centers: bool


class WeightedClusterSettings(Block):
    """Settings of the weighted-cluster loss."""

    weight: NonNegative
    gamma: NonNegative
    alpha: Rate
    weights: ClassWeights


class Losses(Block):
    """One block for each loss. Only the block of the chosen one is required."""

    softmax: NoSettings = UNCHOSEN
    weighted_softmax: WeightedSoftmaxSettings = UNCHOSEN
    center: CenterSettings = UNCHOSEN
    weighted_center: WeightedCenterSettings = UNCHOSEN
    weighted_cluster: WeightedClusterSettings = UNCHOSEN
