"""Ranger with gradient centralisation (Yong et al. 2020): the gradient of each kernel has mean zero.

The best optimiser of the residual convnet paper, with learning rate 1e-3, beta1 0.9 or 0.95 and beta2 0.98 or 0.999.
Ranger is Lookahead (Zhang et al. 2019) around RAdam (Liu et al. 2020).
"""

from __future__ import annotations

from torch import nn, optim

from pipeline.methods.optimizers.parts import ranger
from pipeline.params.optimizers import RangerSettings


def build(settings: RangerSettings, network: nn.Module) -> optim.Optimizer:
    """Return Ranger with gradient centralisation over the parameters of `network`."""
    return ranger.build(settings, network, centralise=True)
