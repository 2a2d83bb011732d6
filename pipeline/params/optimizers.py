"""Settings of the optimisers. `optimizers.<name>` belongs to `pipeline/methods/optimizers/<name>.py`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from pipeline.params.types import UNCHOSEN, Block, Decay, Fraction, NonNegative, Positive, Rate, Share


class OptimizerSettings(Block):
    """Settings that all optimisers share. `decay` says what `weight_decay` applies to."""

    learning_rate: Rate
    weight_decay: NonNegative
    decay: Literal["kernels", "all"]


class SgdSettings(OptimizerSettings):
    """Settings of SGD."""

    momentum: Fraction
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("a momentum above 0 while nesterov is true")
        return self


class AdamSettings(OptimizerSettings):
    """Settings of Adam."""

    beta1: Decay
    beta2: Decay


class AdamWSettings(AdamSettings):
    """Settings of AdamW. `layer_decay` is the factor on the learning rate from each layer to the one before it."""

    layer_decay: Share


class RangerSettings(OptimizerSettings):
    """Settings of Ranger, with or without gradient centralisation. `weight_decay` is decoupled, as in AdamW."""

    beta1: Decay
    beta2: Decay
    lookahead_steps: Positive
    lookahead_share: Fraction


class Optimizers(Block):
    """One block for each optimiser. Only the block of the chosen one is required."""

    sgd: SgdSettings = UNCHOSEN
    adam: AdamSettings = UNCHOSEN
    adamw: AdamWSettings = UNCHOSEN
    ranger: RangerSettings = UNCHOSEN
    ranger_gc: RangerSettings = UNCHOSEN
