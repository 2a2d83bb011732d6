"""Residual networks (He et al. 2016) from torchvision, with a stem for small faces."""

from __future__ import annotations

from pipeline.methods.models import Classifier, Published, assemble
from pipeline.methods.models.parts.residual import as_in_caffe, stages
from pipeline.methods.models.parts.torchvision import models, published
from pipeline.params.models import ResNet50Settings, ResNetSettings


def resnet18(settings: ResNetSettings, classes: int, channels: int) -> Classifier:
    """Return ResNet-18 with 512 features.

    The `small` stem is a 3x3 convolution of stride 2 without pooling. For a 48-pixel face it leaves 3 x 3 positions at
    the last stage. The standard stem (7x7 of stride 2, then pooling) leaves 2 x 2, and a quarter of the positions at
    the first stage.
    """
    return _classifier(settings, classes, channels, "resnet18", 512)


def resnet50(settings: ResNet50Settings, classes: int, channels: int) -> Classifier:
    """Return ResNet-50 with 2048 features and strides in its 3x3 convolutions (torchvision's v1.5).

    With `caffe: true` it is the network that was trained on VGGFace2 (Cao et al. 2018), see docs/weights.md.
    """
    return _classifier(settings, classes, channels, "resnet50", 2048, settings.caffe)


def _classifier(
    settings: ResNetSettings, classes: int, channels: int, name: str, features: int, caffe: bool = False
) -> Classifier:
    net = getattr(models, name)()
    if caffe:
        as_in_caffe(net)
    parts = stages(net, net.relu, settings.stem, channels)
    # torchvision's weights were trained with the strides elsewhere.
    return assemble(settings, classes, parts, features, net, Published() if caffe else published(name))
