"""torchvision's networks, even if its compiled operators cannot be loaded.

The torchvision on the package index is linked against CUDA. With a CPU build of torch its operators do not load, and
the import fails when torchvision registers shapes for two of them. Networks and transforms need neither operator.
Declaring the two by name lets the import succeed; a call still raises.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.methods.models import Published

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")

try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

models = torchvision.models


def published(name: str) -> Published:
    """Return the pretrained weights that torchvision offers for its network `name`."""
    weights = models.get_model_weights(name)
    return Published(
        tuple(entry.name for entry in weights),
        lambda choice: weights[choice].get_state_dict(progress=False, check_hash=True),
    )


def vgg_stages(features: nn.Sequential) -> list[list[nn.Module]]:
    """Return the layers of a VGG network's `features` in five stages. Each stage ends in pooling."""
    stages: list[list[nn.Module]] = [[]]
    for layer in features:
        stages[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages.append([])
    return stages[:-1]
