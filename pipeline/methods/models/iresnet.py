"""Residual networks for face recognition, from ArcFace (Deng et al. 2019).

The layers have the names of insightface's arcface_torch, whose weights they take.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pipeline.methods.models import Classifier, Published, assemble, convolution
from pipeline.methods.models.parts.grid import POSITIONS, AverageToGrid
from pipeline.params.models import IResNetSettings

WIDTHS = (64, 128, 256, 512)
FEATURES = 512


def iresnet50(settings: IResNetSettings, classes: int, channels: int) -> Classifier:
    """Return IResNet-50 with 512 features, ArcFace's R50.

    Its authors train it on aligned faces of 112 x 112 pixels, which leave 7 x 7 positions for the fully connected
    layer. Faces of other sizes are pooled to as many positions.
    """
    return _classifier(settings, classes, channels, (3, 4, 14, 3))


def iresnet100(settings: IResNetSettings, classes: int, channels: int) -> Classifier:
    """Return IResNet-100 with 512 features, ArcFace's R100. It takes faces as `iresnet50` does."""
    return _classifier(settings, classes, channels, (3, 13, 30, 3))


def _classifier(
    settings: IResNetSettings, classes: int, channels: int, blocks: tuple[int, ...]
) -> Classifier:
    net: Any = nn.Module()
    net.conv1, net.bn1, net.prelu = convolution(channels, WIDTHS[0], 3, 1), nn.BatchNorm2d(64), nn.PReLU(64)
    groups = []
    for number, (width, count, before) in enumerate(zip(WIDTHS, blocks, (64, *WIDTHS), strict=False), 1):
        group = nn.Sequential(Block(before, width, 2), *(Block(width, width, 1) for _ in range(count - 1)))
        net.add_module(f"layer{number}", group)
        groups.append([group])
    net.bn2 = nn.BatchNorm2d(WIDTHS[-1])
    net.fc, net.features = nn.Linear(WIDTHS[-1] * POSITIONS**2, FEATURES), nn.BatchNorm1d(FEATURES)
    net.features.weight.requires_grad_(False)  # stays at 1
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.1)
    stages = [[net.conv1, net.bn1, net.prelu], *groups]
    pool = [net.bn2, AverageToGrid(), nn.Flatten(), net.fc, net.features]
    return assemble(settings, classes, stages, FEATURES, net, Published(), pool)


class Block(nn.Module):
    """Batch norm, convolution, batch norm, PReLU, convolution with the stride, batch norm; added to the input.

    The unit of ArcFace's section 3.1. With a stride, a 1x1 convolution brings the input to the size of the result.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(before, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, D, H / stride, W / stride]."""
        inner = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        inner = self.bn3(self.conv2(inner))
        return inner + (maps if self.downsample is None else self.downsample(maps))
