"""Adam (torch); Kingma & Ba 2015."""

from __future__ import annotations

from torch import nn, optim

from pipeline.optimizers import groups
from pipeline.params import Block, Decay, NonNegative, Rate


class Params(Block):
    """Settings of Adam."""

    learning_rate: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    weight_decay: NonNegative = 0.0


def build(params: Params, network: nn.Module) -> optim.Optimizer:
    """Return Adam over the parameters of `network`."""
    return optim.Adam(
        groups(network, params.weight_decay), lr=params.learning_rate, betas=(params.beta1, params.beta2)
    )
