"""VGG networks (Simonyan & Zisserman 2015) from torchvision as classifiers of faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.torchvision import models, published, vgg_stages
from pipeline.params.models import VGGSettings

POSITIONS = 7


class AverageToGrid(nn.Module):
    """Adaptive average pooling to 7 x 7 as two matrix products; the gradient of torch's own is not deterministic."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, 7, 7]."""
        rows, columns = (_windows(side, maps.device).to(maps) for side in maps.shape[-2:])
        return rows @ maps @ columns.T


def _windows(side: int, device: torch.device) -> Tensor:
    # Created on the device: a transfer to a GPU would wait for it.
    place, steps = torch.arange(POSITIONS, device=device)[:, None], torch.arange(side, device=device)
    start, end = place * side // POSITIONS, -(-(place + 1) * side // POSITIONS)
    return ((steps >= start) & (steps < end)) / (end - start)


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
