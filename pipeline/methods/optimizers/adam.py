"""Adam (Kingma & Ba 2015), from torch."""

from __future__ import annotations

from torch import nn, optim

from pipeline.methods.optimizers import groups, on_gpu
from pipeline.params.optimizers import AdamSettings


def build(settings: AdamSettings, network: nn.Module) -> optim.Optimizer:
    """Return Adam over the parameters of `network`."""
    return optim.Adam(
        groups(network, settings),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True if on_gpu(network) else None,
        capturable=on_gpu(network),
    )
