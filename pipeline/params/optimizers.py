"""Settings of the optimisers. `optimizers.<name>` belongs to `pipeline/methods/optimizers/<name>.py`."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.params.types import UNCHOSEN, Block, Decay, Fraction, NonNegative, Positive, Rate


class SgdSettings(Block):
    """Settings of SGD."""

    learning_rate: Rate
    momentum: Fraction
    nesterov: bool
    weight_decay: NonNegative

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("a momentum above 0 while nesterov is true")
        return self


class AdamSettings(Block):
    """Settings of Adam."""

    learning_rate: Rate
    beta1: Decay
    beta2: Decay
    weight_decay: NonNegative


class RangerSettings(Block):
    """Settings of Ranger, with or without gradient centralisation. `weight_decay` is decoupled, as in AdamW."""

    learning_rate: Rate
    beta1: Decay
    beta2: Decay
    weight_decay: NonNegative
    lookahead_steps: Positive
    lookahead_share: Fraction


class Optimizers(Block):
    """One block for each optimiser. Only the block of the chosen one is required."""

    sgd: SgdSettings = UNCHOSEN
    adam: AdamSettings = UNCHOSEN
    ranger: RangerSettings = UNCHOSEN
    ranger_gc: RangerSettings = UNCHOSEN
