"""A linear support vector machine on the features of several VGG networks (GAN augmentation paper, "DF-SVM").

The networks stay as they were loaded; `pipeline/training/svm.py` finds the last layer.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks import Classifier
from pipeline.networks._vgg import vgg
from pipeline.params import Block, Rate, Vgg


class Params(Block):
    """Settings of the features, and `C` of the machine, scikit-learn's name for the weight of its errors."""

    weights: Annotated[dict[Literal["vgg13", "vgg16", "vgg19"], str | None], Field(min_length=1)]
    top: Literal["small", "standard"] = "standard"
    batch_norm: bool = False
    scaling: Literal["faces", "imagenet"] = "imagenet"
    side: Annotated[int, Field(ge=32, le=512)] | None = None
    C: Rate = 1.0


class DeepFeatures(nn.Module):
    """The features of several classifiers, one behind the other, scaled to a length of 1.

    Args:
        parts: the classifiers.
        side: of the square that faces are resized to; None: as they come.
    """

    def __init__(self, parts: dict[str, Classifier], side: int | None) -> None:
        super().__init__()
        self.parts, self.side = nn.ModuleDict(parts), side

    def forward(self, images: Tensor) -> Tensor:
        """Map faces, float [N, C, H, W] in 0..1, to float32 [N, D]."""
        if self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear")
        features = [part(images)[1] for part in self.parts.values()]
        return F.normalize(torch.cat(features, 1).float())


def svm_deep_features(params: Params, classes: int, channels: int) -> Classifier:
    """Return the features with a last layer of zeros: 4096 from each network with the `standard` top, else 512."""
    settings = Vgg(top=params.top, batch_norm=params.batch_norm, scaling=params.scaling)
    parts: dict[str, Classifier] = {name: vgg(name, settings, classes, channels) for name in params.weights}
    features = sum(part.head.in_features for part in parts.values())
    network = Classifier(DeepFeatures(parts, params.side), features, classes, dropout=0)
    network.scale("none")  # each part scales for itself
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    network.parts = parts
    return network
