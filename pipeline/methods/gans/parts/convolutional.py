"""Convolutional generator and critic of DCGAN, for square faces with a side of at least 16 pixels.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, section 3. Strided convolutions replace pooling. Batch norm follows every layer except the
generator's output and the critic's input. The generator uses ReLU and tanh, the critic LeakyReLU with slope 0.2. Halved
sides are rounded up; the kernel is 4 pixels wide for an even side and 3 for an odd one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "layer"]
Condition = Literal["projection", "concatenation"]


def sides(size: int) -> list[int]:
    """Return the side of each map, from the face to the deepest: each is half the previous one, rounded up."""
    return [-(-size // 2**depth) for depth in range(5)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Decoder(nn.Module):
    """Generator: turns noise into a face in four doublings of the resolution.

    Args:
        latent: length Z of the noise vector.
        size: side of a face in pixels.
        channels: channels of a face, 1 or 3.
        width: channels before the last layer; deeper layers have up to 8 times as many.
        classes: number of classes, each with a learned vector of length Z appended to the noise; 0: unconditional.
    """

    def __init__(self, latent: int, size: int, channels: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, latent) if classes else None
        widths = [width * 8, width * 4, width * 2, width]
        *upper, deepest = sides(size)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent * (2 if classes else 1), widths[0], deepest, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for side, (wide, narrow) in zip(upper[:0:-1], pairwise(widths), strict=True):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4 - side % 2, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(width, channels, 4 - size % 2, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Map [n, Z] and class indices [n] to [n, C, size, size] in -1..1."""
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(labels)], 1)
        return self.layers(noise[:, :, None, None])


class Critic(nn.Module):
    """Critic, or discriminator: turns a face into one score in four halvings of the resolution.

    Args:
        size: side of a face in pixels.
        channels: channels of a face, 1 or 3.
        width: channels of the first layer; deeper layers have up to 8 times as many.
        norm: normalisation between layers. With batch norm a score depends on the whole batch. A gradient penalty
            concerns single faces and therefore needs `layer` (Gulrajani et al. 2017, section 4).
        classes: number of classes; 0: unconditional.
        condition: how the critic receives the class. `projection` adds to the score the inner product of the
            features, summed over positions, and a vector of the class (Miyato & Koyama 2018, equation 3).
            `concatenation` appends a channel to the face, a learned map of the class (Mirza & Osindero 2014).
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int,
        norm: Norm = "batch",
        classes: int = 0,
        condition: Condition = "projection",
    ) -> None:
        super().__init__()
        self.projection = nn.Embedding(classes, width * 8) if classes and condition == "projection" else None
        self.maps = nn.Embedding(classes, size * size) if classes and condition == "concatenation" else None
        first = channels + (self.maps is not None)
        before = sides(size)
        layers: list[nn.Module] = [nn.Conv2d(first, width, 4 - size % 2, 2, 1), nn.LeakyReLU(0.2)]
        widths = [width, width * 2, width * 4, width * 8]
        for side, (narrow, wide) in zip(before[1:], pairwise(widths), strict=False):
            kernel = 4 - side % 2
            layers += [
                nn.Conv2d(narrow, wide, kernel, 2, 1, bias=False),
                _norm(norm, wide),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width * 8, 1, before[-1])
        self.apply(_initialise)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, 0.0, 0.02)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map [n, C, size, size] in -1..1 and class indices [n] to scores [n]; higher means real."""
        if self.maps is not None:
            images = torch.cat([images, self.maps(labels).view(-1, 1, *images.shape[2:])], 1)
        features = self.layers(images)
        scores = self.last(features).flatten()
        if self.projection is not None:
            scores = scores + (self.projection(labels) * features.sum((2, 3))).sum(1)
        return scores


def _norm(kind: Norm, channels: int) -> nn.Module:
    # One group: layer norm over the channels and positions of each face.
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)
