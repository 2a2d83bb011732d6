"""EfficientNet (Tan & Le 2019) from torchvision, with a stem for small faces."""

from __future__ import annotations

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.torchvision import models, published
from pipeline.params.models import EfficientNetSettings


def efficientnet_b0(settings: EfficientNetSettings, classes: int, channels: int) -> Classifier:
    """Return EfficientNet-B0 with 1280 features. The `small` stem has stride 1 instead of 2."""
    net = models.efficientnet_b0()
    net.features[0][0] = convolution(channels, 32, 3, 1 if settings.stem == "small" else 2)
    return assemble(
        settings, classes, [[layer] for layer in net.features], 1280, net, published("efficientnet_b0")
    )
