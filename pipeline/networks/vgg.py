"""VGG networks (Simonyan & Zisserman 2015), torchvision's convolutions."""

from __future__ import annotations

from torch import nn

from pipeline.networks import Classifier, GlobalAverage, trunk
from pipeline.networks._torchvision import models
from pipeline.params import Block, Fraction


class Params(Block):
    """Settings of a VGG network."""

    dropout: Fraction = 0.5


def vgg19_fer(params: Params, classes: int, channels: int) -> Classifier:
    """Return the MixCut paper's VGG-19: batch norm before ReLU, dropout, one fully connected layer.

    At 44 x 44 pixels the convolutions leave one position of 512 features. Larger faces leave more, which are
    averaged, so that one layer of 512 x K serves every size.
    """
    layers = list(models.vgg19_bn().features)
    first = nn.Conv2d(channels, 64, 3, padding=1)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(first.bias)  # type: ignore[arg-type]
    body = trunk(first, *layers[1:], GlobalAverage())
    return Classifier(body, 512, classes, params.dropout)
