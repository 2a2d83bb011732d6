"""Residual networks (He et al. 2016), torchvision's, with a stem for small faces."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pipeline.networks import Classifier, GlobalAverage, trunk
from pipeline.networks._torchvision import models
from pipeline.params import Block, Fraction


class Params(Block):
    """Settings of a residual network."""

    stem: Literal["small", "standard"] = "small"
    dropout: Fraction = 0.0


def resnet18(params: Params, classes: int, channels: int) -> Classifier:
    """Return ResNet-18 with 512 features.

    The `small` stem is a 3x3 convolution of stride 2 without pooling: the standard one (7x7 of stride 2, then
    pooling) leaves 2 x 2 positions of a 48-pixel face, this one 3 x 3 at the last stage and four times the
    positions at the first.
    """
    net = models.resnet18()
    if params.stem == "small":
        stem = [nn.Conv2d(channels, 64, 3, 2, 1, bias=False), net.bn1, net.relu]
    else:
        stem = [nn.Conv2d(channels, 64, 7, 2, 3, bias=False), net.bn1, net.relu, net.maxpool]
    nn.init.kaiming_normal_(stem[0].weight, mode="fan_out", nonlinearity="relu")
    stages = [net.layer1, net.layer2, net.layer3, net.layer4]
    return Classifier(trunk(*stem, *stages, GlobalAverage()), 512, classes, params.dropout)
