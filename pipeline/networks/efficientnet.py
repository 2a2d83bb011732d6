"""EfficientNet (Tan & Le 2019), torchvision's, with a stem for small faces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.networks import Classifier, assemble, convolution
from pipeline.networks._torchvision import models, published
from pipeline.params import Network


class Params(Network):
    """Settings of an EfficientNet; `frozen` counts the nine stages of its paper's table 1."""

    stem: Literal["small", "standard"] = "small"
    frozen: Annotated[int, Field(ge=0, le=9)] = 0


def efficientnet_b0(params: Params, classes: int, channels: int) -> Classifier:
    """Return EfficientNet-B0 with 1280 features; the `small` stem has a stride of 1 in the place of 2."""
    net = models.efficientnet_b0()
    net.features[0][0] = convolution(channels, 32, 3, 1 if params.stem == "small" else 2)
    return assemble(
        params, classes, [[layer] for layer in net.features], 1280, net, published("efficientnet_b0")
    )
