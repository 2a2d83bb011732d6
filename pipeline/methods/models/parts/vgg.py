"""VGG networks (Simonyan & Zisserman 2015) from torchvision as classifiers of faces."""

from __future__ import annotations

from torch import nn

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.grid import AverageToGrid
from pipeline.methods.models.parts.torchvision import models, published, vgg_stages
from pipeline.params.models import VGGSettings


def vgg(name: str, settings: VGGSettings, classes: int, channels: int) -> Classifier:
    """Return torchvision's network `name` with 512 features, or 4096 with the `standard` top."""
    name += "_bn" if settings.batch_norm else ""
    net = getattr(models, name)(dropout=settings.dropout)
    net.features[0] = convolution(channels, 64, 3, 1, bias=True)
    stages = vgg_stages(net.features)
    if settings.top == "small":
        return assemble(settings, classes, stages, 512, net, published(name))
    # Without the library's last dropout: `Classifier` has its own.
    pool = [AverageToGrid(), nn.Flatten(), *net.classifier[:5]]
    return assemble(settings, classes, stages, 4096, net, published(name), pool)
