"""Densely connected networks (Huang et al. 2017), torchvision's, with a stem for small faces."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pipeline.networks import Classifier, assemble, convolution
from pipeline.networks._torchvision import models, published
from pipeline.params import Network


class Params(Network):
    """Settings of a densely connected network."""

    stem: Literal["small", "standard"] = "small"


def densenet121(params: Params, classes: int, channels: int) -> Classifier:
    """Return DenseNet-121 with 1024 features; the `small` stem is a 3x3 convolution of stride 2, no pooling."""
    net = models.densenet121()
    layers = net.features
    layers.conv0 = convolution(channels, 64, *((3, 2) if params.stem == "small" else (7, 2)))
    pool: list[nn.Module] = [] if params.stem == "small" else [layers.pool0]
    stages = [
        [layers.conv0, layers.norm0, layers.relu0, *pool],
        [layers.denseblock1, layers.transition1],
        [layers.denseblock2, layers.transition2],
        [layers.denseblock3, layers.transition3],
        [layers.denseblock4, layers.norm5, nn.ReLU()],
    ]
    return assemble(params, classes, stages, 1024, net, published("densenet121"))
