"""Which parts of a face the network sees when it is scored.

The functions take faces [N, C, H, W] and a size of at most H and W, and return views [V, N, C, size, size]
whose predicted probabilities are averaged. Places are torchvision's, to the pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the centre alone: [1, N, C, size, size], a view of `images`."""
    height, width = images.shape[-2:]
    # Half pixels round to even, as in torchvision.
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[None, ..., top : top + size, left : left + size]


def mirrored(images: Tensor, size: int) -> Tensor:
    """Return the centre of the images and of their mirror images: [2, N, C, size, size]."""
    return torch.cat([centre_crop(images, size), centre_crop(images.flip(-1), size)])


def ten_crop(images: Tensor, size: int) -> Tensor:
    """Return four corners and the centre of the images and of their mirror images: [10, N, C, size, size].

    Source: Krizhevsky et al. 2012; the MixCut paper's test protocol on FER+.
    """
    return torch.cat([_five_crop(images, size), _five_crop(images.flip(-1), size)])


def _five_crop(images: Tensor, size: int) -> Tensor:
    height, width = images.shape[-2:]
    corners = [
        images[..., top : top + size, left : left + size]
        for top in (0, height - size)
        for left in (0, width - size)
    ]
    return torch.cat([torch.stack(corners), centre_crop(images, size)])


# Views whose probabilities are averaged, by name, and how many faces a pass takes.
VIEWS = {"centre": (centre_crop, 256), "mirror": (mirrored, 128), "ten": (ten_crop, 32)}
