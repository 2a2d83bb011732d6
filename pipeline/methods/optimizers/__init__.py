"""One module per optimiser, from torch or another library.

A module offers `build(settings, network)`, which returns a torch optimiser. The setting `learning_rate` is the peak of
the schedule. The settings of a module are a class in `pipeline/params/optimizers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from pipeline.params.optimizers import OptimizerSettings

Groups = list[dict[str, Any]]


def layered(network: nn.Module, settings: OptimizerSettings, factor: float) -> Groups:
    """Return the groups of each layer, the first layer first.

    Args:
        network: a `Classifier` if `factor` is not 1.
        settings: of the optimiser.
        factor: on the learning rate, from each layer to the one before it; the last layer has the optimiser's own.
    """
    if factor == 1:
        return groups(network, settings)
    layers = list(reversed(network.layers()))  # type: ignore[operator]
    rated = [
        group | {"lr": settings.learning_rate * factor**depth}
        for depth, layer in enumerate(layers)
        for group in _groups(layer, settings)
    ]
    return [group for group in reversed(rated) if group["params"]]


def groups(network: nn.Module, settings: OptimizerSettings) -> Groups:
    """Return two parameter groups: matrices and kernels, then biases and normalisation layers.

    Weight decay applies to the second group only with `decay: all`.
    """
    return _groups(network.parameters(), settings)


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> Groups:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
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
