"""Stochastic gradient descent with momentum, from torch."""

from __future__ import annotations

from torch import nn, optim

from pipeline.methods.optimizers import groups, on_gpu
from pipeline.params.optimizers import SgdSettings


def build(settings: SgdSettings, network: nn.Module) -> optim.Optimizer:
    """Return SGD over the parameters of `network`."""
    return optim.SGD(
        groups(network, settings),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        fused=True if on_gpu(network) else None,
    )
