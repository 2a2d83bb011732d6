"""Stochastic gradient descent with momentum (torch)."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from torch import nn, optim

from pipeline.optimizers import groups
from pipeline.params import Block, Fraction, NonNegative, Rate


class Params(Block):
    """Settings of SGD."""

    learning_rate: Rate
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("a momentum above 0 while nesterov is true")
        return self


def build(params: Params, network: nn.Module) -> optim.Optimizer:
    """Return SGD over the parameters of `network`."""
    return optim.SGD(
        groups(network, params.weight_decay),
        lr=params.learning_rate,
        momentum=params.momentum,
        nesterov=params.nesterov,
    )
