"""VGG networks as published for ImageNet (Simonyan & Zisserman 2015, configurations B and D), torchvision's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks import Classifier, assemble, convolution
from pipeline.networks._torchvision import models, published, vgg_stages
from pipeline.params import Fraction, Network

POSITIONS = 7


class Params(Network):
    """Settings of a VGG network; `top` is what stands on the convolutions."""

    dropout: Fraction = 0.5
    top: Literal["small", "standard"] = "small"
    batch_norm: bool = True


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


def vgg13(params: Params, classes: int, channels: int) -> Classifier:
    """Return VGG-13: ten convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return _classifier(params, classes, channels, "vgg13")


def vgg16(params: Params, classes: int, channels: int) -> Classifier:
    """Return VGG-16: thirteen convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return _classifier(params, classes, channels, "vgg16")


def _classifier(params: Params, classes: int, channels: int, name: str) -> Classifier:
    name += "_bn" if params.batch_norm else ""
    net = getattr(models, name)(dropout=params.dropout)
    net.features[0] = convolution(channels, 64, 3, 1, bias=True)
    stages = vgg_stages(net.features)
    if params.top == "small":
        return assemble(params, classes, stages, 512, net, published(name))
    # Dropout before the last layer is the classifier's own.
    pool = [AverageToGrid(), nn.Flatten(), *net.classifier[:5]]
    return assemble(params, classes, stages, 4096, net, published(name), pool)
