"""A linear support vector machine on the features of several VGG networks (GAN augmentation paper, "DF-SVM").

The networks keep their loaded weights. `pipeline/training/svm.py` computes the last layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.methods.models import SCALINGS, Classifier
from pipeline.methods.models.parts.vgg import vgg
from pipeline.params.models import DeepFeaturesSettings, VGGSettings


class DeepFeatures(nn.Module):
    """Concatenated features of several classifiers, scaled to length 1.

    Args:
        parts: classifiers by name.
        side: side to which faces are resized, in pixels; None keeps their size.
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


def svm_deep_features(settings: DeepFeaturesSettings, classes: int, channels: int) -> Classifier:
    """Return all networks' features, 4096 each with the `standard` top, else 512, and a last layer of zeros."""
    shared = settings.model_dump(include={"top", "batch_norm", "scaling"})
    of_parts = VGGSettings(**shared, dropout=0.5, extra=None, frozen=0, weights=None)
    parts: dict[str, Classifier] = {name: vgg(name, of_parts, classes, channels) for name in settings.weights}
    features = sum(part.head.in_features for part in parts.values())
    network = Classifier(DeepFeatures(parts, settings.side), features, classes, dropout=0)
    network.scale(SCALINGS["unit"])  # each part scales its input
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    network.parts = parts
    return network
