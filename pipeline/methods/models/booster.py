"""Residual networks with Mish and Accuracy Booster, from the residual convnet paper.

Figure 4 and table 1 of the paper: torchvision's ResNet with Mish (Misra 2020) instead of ReLU. Residual branches end in
an Accuracy Booster (Singh, Mazumder & Namboodiri 2020). The paper's released code can also leave out the skip
connections; with ReLU and no booster, that is most likely the row "CNN18" of table 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.methods.models import Classifier, assemble
from pipeline.methods.models.parts.residual import stages
from pipeline.methods.models.parts.torchvision import models, published
from pipeline.params.models import BoosterSettings


class AccuracyBooster(nn.Module):
    """Scale each channel by sigmoid(batch norm(1x1 convolution(mean over positions))).

    Figure 2 of the paper shows two forms. In the first, Accuracy Booster, the convolution is depthwise: a channel's
    factor depends on the mean of this channel alone. In the second, Accuracy Booster Plus, it depends on all means.
    """

    def __init__(self, channels: int, depthwise: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, groups=channels if depthwise else 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return maps * torch.sigmoid(self.norm(self.conv(maps.mean((2, 3), keepdim=True))))


class BoostedNorm(nn.BatchNorm2d):
    """Batch norm at the end of a residual branch, followed by the booster.

    It replaces torchvision's batch norm, so that torchvision's blocks and weights can be used unchanged.
    """

    def __init__(self, channels: int, depthwise: bool) -> None:
        super().__init__(channels)
        self.booster = AccuracyBooster(channels, depthwise)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return self.booster(super().forward(maps))


class NoSkip(nn.Module):
    """Shortcut of a block that adds nothing to the residual branch."""

    def forward(self, maps: Tensor) -> float:
        """Map [N, C, H, W] to 0."""
        return 0.0


def resnet18_booster(settings: BoosterSettings, classes: int, channels: int) -> Classifier:
    """Return the paper's 18-layer network with 512 features."""
    return _classifier(settings, classes, channels, "resnet18", "bn2", 512)


def resnet50_booster(settings: BoosterSettings, classes: int, channels: int) -> Classifier:
    """Return the paper's 50-layer network with 2048 features."""
    return _classifier(settings, classes, channels, "resnet50", "bn3", 2048)


def _classifier(
    settings: BoosterSettings, classes: int, channels: int, name: str, last: str, features: int
) -> Classifier:
    net = getattr(models, name)()
    activation = nn.Mish() if settings.mish else nn.ReLU()
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            block.relu = activation
            if not settings.skip:
                block.downsample = NoSkip()
            if settings.booster != "none":
                boosted = BoostedNorm(getattr(block, last).num_features, settings.booster == "depthwise")
                setattr(block, last, boosted)
    parts = stages(net, activation, settings.stem, channels)
    return assemble(settings, classes, parts, features, net, published(name))
