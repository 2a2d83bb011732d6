"""VGG networks as published for ImageNet (Simonyan & Zisserman 2015, configurations B and D), from torchvision."""

from __future__ import annotations

from pipeline.methods.models import Classifier
from pipeline.methods.models.parts.vgg import vgg
from pipeline.params.models import VGGSettings


def vgg13(settings: VGGSettings, classes: int, channels: int) -> Classifier:
    """Return VGG-13: ten convolutions. The `standard` top has three fully connected layers and 4096 features."""
    return vgg("vgg13", settings, classes, channels)


def vgg16(settings: VGGSettings, classes: int, channels: int) -> Classifier:
    """Return VGG-16: thirteen convolutions. The `standard` top has three fully connected layers and 4096 features."""
    return vgg("vgg16", settings, classes, channels)
