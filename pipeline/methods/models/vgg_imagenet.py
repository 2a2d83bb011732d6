"""VGG networks as published for ImageNet (Simonyan & Zisserman 2015, configurations B and D), torchvision's."""

from __future__ import annotations

from pipeline.methods.models import Classifier
from pipeline.methods.models.parts.vgg import vgg
from pipeline.params.models import VGGSettings


def vgg13(settings: VGGSettings, classes: int, channels: int) -> Classifier:
    """Return VGG-13: ten convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return vgg("vgg13", settings, classes, channels)


def vgg16(settings: VGGSettings, classes: int, channels: int) -> Classifier:
    """Return VGG-16: thirteen convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return vgg("vgg16", settings, classes, channels)
