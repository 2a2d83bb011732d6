"""A residual network for two cores without a GPU: most of its arithmetic is in few, wide convolutions."""

from __future__ import annotations

from itertools import chain, pairwise

from torch import Tensor, nn

from pipeline.methods.models import Classifier, Published, assemble, convolution, trunk
from pipeline.methods.models.parts.members import Members
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
