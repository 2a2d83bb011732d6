"""Densely connected networks (Huang et al. 2017) from torchvision, with a stem for small faces."""

from __future__ import annotations

from torch import nn

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.torchvision import models, published
from pipeline.params.models import DenseNetSettings


def densenet121(settings: DenseNetSettings, classes: int, channels: int) -> Classifier:
    """Return DenseNet-121 with 1024 features. The `small` stem is a 3x3 convolution of stride 2 without pooling."""
    net = models.densenet121()
    layers = net.features
    layers.conv0 = convolution(channels, 64, *((3, 2) if settings.stem == "small" else (7, 2)))
    pool: list[nn.Module] = [] if settings.stem == "small" else [layers.pool0]
    stages = [
        [layers.conv0, layers.norm0, layers.relu0, *pool],
        [layers.denseblock1, layers.transition1],
        [layers.denseblock2, layers.transition2],
        [layers.denseblock3, layers.transition3],
        [layers.denseblock4, layers.norm5, nn.ReLU()],
    ]
    return assemble(settings, classes, stages, 1024, net, published("densenet121"))
