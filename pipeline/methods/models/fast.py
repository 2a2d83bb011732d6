"""A residual network for two cores without a GPU: most of its arithmetic is in few, wide convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.methods.models import Classifier, Published, assemble, convolution, trunk
from pipeline.params.models import FastSettings


def fast(settings: FastSettings, classes: int, channels: int) -> Classifier:
    """Return a convolution of stride 2, then three stages; 4 `width` features from each of `members` networks.

    A stage is a convolution, max pooling and a residual block of two convolutions (He et al. 2016). As in airbench
    (Jordan 2024), pooling follows the convolution: there are more products per value that moves through memory, and a
    processor's matrix units like that. With a `width` of 64, a face of 44 x 44 takes 59 million multiplications, a
    fifth of ResNet-18's.
    """
    width = settings.width
    widths = [width // 2, width, 2 * width, 4 * width]
    networks = [_stages(channels, widths) for _ in range(settings.members)]
    stages = networks[0]
    if settings.members > 1:
        stages = [[Members(trunk(*chain(*each)) for each in networks)]]
    return assemble(settings, classes, stages, settings.members * widths[-1], nn.Sequential(), Published())


def _stages(channels: int, widths: list[int]) -> list[list[nn.Module]]:
    first = [convolution(channels, widths[0], 3, 2), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    return [first, *(_stage(narrow, wide) for narrow, wide in pairwise(widths))]


def _stage(narrow: int, wide: int) -> list[nn.Module]:
    pool = nn.MaxPool2d(2, ceil_mode=True)
    return [
        convolution(narrow, wide, 3, 1),
        pool,
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
        Residual(wide),
    ]


class Members(nn.Module):
    """Several networks, each with channels of its own in the maps. The layers after them must be linear.

    In training, the networks divide each batch among them. All channels of a face are zero but those of its network, so
    each network learns as if it were alone. In evaluation, each network sees all faces. Their maps are divided by their
    number, so the logits are the mean of what the networks alone would give (Lakshminarayanan et al. 2017 average the
    probabilities).
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, M D, h, w] for M networks of D channels."""
        count = len(self.networks)
        if not self.training:
            return torch.cat([network(images) for network in self.networks], 1) / count
        parts = images.tensor_split(max(1, min(count, len(images) // 2)))  # batch norm needs two faces
        maps = [network(part) for network, part in zip(self.networks, parts, strict=False)]
        width = maps[0].shape[1]
        padded = [
            functional.pad(own, (0, 0, 0, 0, i * width, (count - 1 - i) * width))
            for i, own in enumerate(maps)
        ]
        return torch.cat(padded)


class Residual(nn.Module):
    """Two convolutions whose result is added to their input. The sum starts as the input: the last scale is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm1 = convolution(width, width, 3, 1), nn.BatchNorm2d(width)
        self.second, self.norm2 = convolution(width, width, 3, 1), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, D, H, W] to [N, D, H, W]."""
        inner = self.relu(self.norm1(self.first(maps)))
        return self.relu(self.norm2(self.second(inner)).add_(maps))
