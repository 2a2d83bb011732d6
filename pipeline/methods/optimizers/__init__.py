"""One module per optimiser recipe; libraries do the work.

A module's settings are a class in `pipeline/params/optimizers.py`. It offers `build(settings, network)`, which
returns a torch optimiser. `learning_rate` is the peak: the schedule multiplies it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

Groups = list[dict[str, Any]]


def groups(network: nn.Module, weight_decay: float) -> Groups:
    """Return parameter groups: weight decay on matrices and kernels, none on biases and normalisation."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
