"""One module per optimiser, from torch or another library.

A module offers `build(settings, network)`, which returns a torch optimiser. The setting `learning_rate` is the peak of
the schedule. The settings of a module are a class in `pipeline/params/optimizers.py`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.params.optimizers import OptimizerSettings

Groups = list[dict[str, Any]]


def groups(network: nn.Module, settings: OptimizerSettings) -> Groups:
    """Return two parameter groups: matrices and kernels, then biases and normalisation layers.

    Weight decay applies to the second group only with `decay: all`.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kernels = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    decay = settings.weight_decay
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": decay if settings.decay == "all" else 0.0},
    ]


def on_gpu(network: nn.Module) -> bool:
    """Return whether the weights are on a GPU. There an optimiser is one kernel, which a CUDA graph can hold."""
    return next(network.parameters()).device.type == "cuda"
