"""Ranger, with or without gradient centralisation, from pytorch-optimizer."""

from __future__ import annotations

from pytorch_optimizer import Ranger
from torch import nn, optim

from pipeline.optimizers import groups
from pipeline.params import Lookahead


def build(params: Lookahead, network: nn.Module, *, centralise: bool) -> optim.Optimizer:
    """Return Ranger over the parameters of `network`; `centralise` takes the mean off every kernel's gradient."""
    return Ranger(
        groups(network, params.weight_decay),
        lr=params.learning_rate,
        betas=(params.beta1, params.beta2),
        k=params.lookahead_steps,
        alpha=params.lookahead_share,
        use_gc=centralise,
        # RAdam's own steps while the variance is unknown; without it the library goes up the gradient meanwhile.
        degenerated_to_sgd=True,
    )
