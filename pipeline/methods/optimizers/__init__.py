"""One module per optimiser, from torch or another library.

A module offers `build(settings, network)`, which returns a torch optimiser. The setting `learning_rate` is the peak of
the schedule. The settings of a module are a class in `pipeline/params/optimizers.py`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

Groups = list[dict[str, Any]]


def groups(network: nn.Module, weight_decay: float) -> Groups:
    """Return parameter groups: weight decay for matrices and kernels, none for biases and normalisation layers."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
