"""VGG networks as published for ImageNet (Simonyan & Zisserman 2015, configurations B and D), torchvision's."""

from __future__ import annotations

from pipeline.networks import Classifier
from pipeline.networks._vgg import vgg
from pipeline.params import Vgg


class Params(Vgg):
    """Settings of a VGG network."""


def vgg13(params: Params, classes: int, channels: int) -> Classifier:
    """Return VGG-13: ten convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return vgg("vgg13", params, classes, channels)


def vgg16(params: Params, classes: int, channels: int) -> Classifier:
    """Return VGG-16: thirteen convolutions; with the `standard` top three fully connected layers, 4096 features."""
    return vgg("vgg16", params, classes, channels)
