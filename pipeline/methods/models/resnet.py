"""Residual networks (He et al. 2016) from torchvision, with a stem for small faces."""

from __future__ import annotations

from pipeline.methods.models import Classifier, assemble
from pipeline.methods.models.parts.residual import stages
from pipeline.methods.models.parts.torchvision import models, published
from pipeline.params.models import ResNetSettings


def resnet18(settings: ResNetSettings, classes: int, channels: int) -> Classifier:
    """Return ResNet-18 with 512 features.

    The `small` stem is a 3x3 convolution of stride 2 without pooling. For a 48-pixel face it leaves 3 x 3 positions at
    the last stage. The standard stem (7x7 of stride 2, then pooling) leaves 2 x 2, and a quarter of the positions at
    the first stage.
    """
    return _classifier(settings, classes, channels, "resnet18", 512)


def resnet50(settings: ResNetSettings, classes: int, channels: int) -> Classifier:
    """Return ResNet-50 with 2048 features and strides in its 3x3 convolutions (torchvision's v1.5)."""
    return _classifier(settings, classes, channels, "resnet50", 2048)


def _classifier(
    settings: ResNetSettings, classes: int, channels: int, name: str, features: int
) -> Classifier:
    net = getattr(models, name)()
    parts = stages(net, net.relu, settings.stem, channels)
    return assemble(settings, classes, parts, features, net, published(name))
