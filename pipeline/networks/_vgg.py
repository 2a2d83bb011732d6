"""torchvision's VGG networks (Simonyan & Zisserman 2015) as classifiers of faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks import Classifier, assemble, convolution
from pipeline.networks._torchvision import models, published, vgg_stages
from pipeline.params import Vgg

POSITIONS = 7


class AverageToGrid(nn.Module):
    """torch's adaptive average pooling to 7 x 7, as two matrix products: its own gradient is not deterministic."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, 7, 7]."""
        rows, columns = (_windows(side).to(maps) for side in maps.shape[-2:])
        return rows @ maps @ columns.T


def _windows(side: int) -> Tensor:
    grid = torch.zeros(POSITIONS, side)
    for i in range(POSITIONS):
        start, end = i * side // POSITIONS, -(-(i + 1) * side // POSITIONS)
        grid[i, start:end] = 1 / (end - start)
    return grid


def vgg(name: str, params: Vgg, classes: int, channels: int) -> Classifier:
    """Return torchvision's network `name`; 512 features, or 4096 with the `standard` top."""
    name += "_bn" if params.batch_norm else ""
    net = getattr(models, name)(dropout=params.dropout)
    net.features[0] = convolution(channels, 64, 3, 1, bias=True)
    stages = vgg_stages(net.features)
    if params.top == "small":
        return assemble(params, classes, stages, 512, net, published(name))
    # Dropout before the last layer is the classifier's own.
    pool = [AverageToGrid(), nn.Flatten(), *net.classifier[:5]]
    return assemble(params, classes, stages, 4096, net, published(name), pool)
