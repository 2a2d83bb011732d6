"""Ranger with gradient centralisation (Yong et al. 2020): the gradient of each kernel has mean zero.

The residual convnet paper's best optimiser: learning rate 1e-3, beta1 0.9 or 0.95, beta2 0.98 or 0.999. Ranger is
Lookahead (Zhang et al. 2019) around RAdam (Liu et al. 2020), from pytorch-optimizer.
"""

from __future__ import annotations

from pytorch_optimizer import Ranger
from torch import nn, optim

from pipeline.optimizers import groups
from pipeline.params import Block, Decay, Fraction, NonNegative, Positive, Rate


class Params(Block):
    """Settings of Ranger; `weight_decay` is decoupled (AdamW's)."""

    learning_rate: Rate
    beta1: Decay = 0.95
    beta2: Decay = 0.999
    weight_decay: NonNegative = 0.0
    lookahead_steps: Positive = 6
    lookahead_share: Fraction = 0.5


def build(params: Params, network: nn.Module) -> optim.Optimizer:
    """Return Ranger with gradient centralisation over the parameters of `network`."""
    return Ranger(
        groups(network, params.weight_decay),
        lr=params.learning_rate,
        betas=(params.beta1, params.beta2),
        k=params.lookahead_steps,
        alpha=params.lookahead_share,
        use_gc=True,
        # RAdam's own steps while the variance is unknown; without it the library goes up the gradient meanwhile.
        degenerated_to_sgd=True,
    )
