"""The parts of a training run, built from the names and settings of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, optim

from pipeline.inference.model_file import build_network
from pipeline.methods.augments import View
from pipeline.methods.losses import Loss
from pipeline.methods.models import Classifier
from pipeline.training.plan import Draw
from pipeline.training.pretrained import LoadReport, load_weights

# A method's name and its settings, as `Params.chosen` returns them.
Choice = tuple[str, Any]


@dataclass(frozen=True)
class Parts:
    """A network and the methods that train it.

    Attributes:
        network: on the device of the run.
        optimizer: updates the network's weights.
        loss: on the same device.
        draw: function of (rng, count, crop) that draws the augmentation's random numbers for an epoch.
        per_batch: whether all samples of a batch use the draw of its first sample.
        augment: applies the augmentation to a batch, see `pipeline.methods.augments`.
    """

    network: Classifier
    optimizer: optim.Optimizer
    loss: Loss
    draw: Draw
    per_batch: bool
    augment: Callable[..., Sequence[View]]


def loaded_network(
    model: Choice, classes: list[str], channels: int, seed: int, device: torch.device
) -> tuple[Classifier, dict[str, LoadReport]]:
    """Return a network with the weights that a run starts from, and the reports of `load_weights`."""
    torch.manual_seed(seed)
    name, settings = model
    network = build_network(name, settings, len(classes), channels)
    reports = load_weights(network, name, settings, classes)
    return network.to(device), reports


def built_parts(
    network: Classifier, optimizer: Choice, loss: Choice, augment: Choice, labels: Tensor
) -> Parts:
    """Return a network with the methods that train it.

    Args:
        network: on the device of the run.
        optimizer, loss, augment: names and settings.
        labels: class indices of the training samples, int64 [N] on the CPU.
    """
    optimizers, losses, augments = (
        import_module(f"pipeline.methods.{kind}.{name}")
        for kind, (name, _) in (("optimizers", optimizer), ("losses", loss), ("augments", augment))
    )
    head = network.head
    counts = torch.bincount(labels, minlength=head.out_features)
    return Parts(
        network,
        optimizers.build(optimizer[1], network),
        losses.build(loss[1], counts, head.in_features).to(head.weight.device),
        partial(augments.draw, augment[1]),
        getattr(augment[1], "per", "face") == "batch",
        augments.apply,
    )
