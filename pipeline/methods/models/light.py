"""A small convolutional network, for machines without a GPU and for judging synthetic faces."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from pipeline.methods.models import Classifier, Published, assemble, convolution
from pipeline.params.models import LightSettings

WIDTHS = (32, 64, 128, 256)


def light(settings: LightSettings, classes: int, channels: int) -> Classifier:
    """Return eight 3x3 convolutions with batch norm, in four stages that halve the face; 256 features.

    It needs a tenth of ResNet-18's arithmetic. The form is VGG's (Simonyan & Zisserman 2015), with strides instead of
    pooling.
    """
    stages = [_stage(narrow, wide) for narrow, wide in pairwise((channels, *WIDTHS))]
    return assemble(settings, classes, stages, WIDTHS[-1], nn.Sequential(), Published())


def _stage(narrow: int, wide: int) -> list[nn.Module]:
    return [
        *(convolution(narrow, wide, 3, 2), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)),
        *(convolution(wide, wide, 3, 1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)),
    ]
