"""Stages of residual networks from any library."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.methods.models import convolution


def stages(net: Any, activation: nn.Module, stem: str, channels: int) -> list[list[nn.Module]]:
    """Replace the first convolution of a residual network; return its stem and its four groups of blocks.

    Args:
        net: a network with torchvision's names: `conv1`, `bn1`, `maxpool`, `layer1` to `layer4`.
        activation: activation of the stem.
        stem: `small` (3x3 of stride 2, no pooling) or `standard` (7x7 of stride 2, then pooling).
        channels: channels of a face.
    """
    net.conv1 = convolution(channels, 64, *((3, 2) if stem == "small" else (7, 2)))
    pool = [] if stem == "small" else [net.maxpool]
    return [[net.conv1, net.bn1, activation, *pool], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]


def as_in_caffe(net: Any) -> None:
    """Change a network of bottleneck blocks to its form in Caffe, in which VGGFace2's weights were trained.

    The first block of a group has its stride in the first convolution, as in He et al. (2016), and not in the 3x3
    convolution. Pooling adds no border at the start; a window that goes over the end counts.

    Args:
        net: as for `stages`, which takes the stem from it.
    """
    net.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    for group in (net.layer2, net.layer3, net.layer4):
        group[0].conv1.stride, group[0].conv2.stride = group[0].conv2.stride, group[0].conv1.stride
