"""Ranger, with or without gradient centralisation, from pytorch-optimizer."""

from __future__ import annotations

from pytorch_optimizer import Ranger
from torch import nn, optim

from pipeline.methods.optimizers import groups
from pipeline.params.optimizers import RangerSettings


def build(settings: RangerSettings, network: nn.Module, *, centralise: bool) -> optim.Optimizer:
    """Return Ranger over the parameters of `network`; `centralise` subtracts the mean of each kernel's gradient."""
    return Ranger(
        groups(network, settings),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        k=settings.lookahead_steps,
        alpha=settings.lookahead_share,
        use_gc=centralise,
        # RAdam's steps before the variance is known. Without it the library's first steps ascend the gradient.
        degenerated_to_sgd=True,
    )
