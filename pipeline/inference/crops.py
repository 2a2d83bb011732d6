"""The views of a face that the network scores.

Each function takes faces [N, C, H, W] and a size of at most H and W. It returns views [V, N, C, size, size], whose
predicted probabilities are averaged. The views are torchvision's, to the pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the centre: [1, N, C, size, size], a view of `images`."""
    height, width = images.shape[-2:]
    # Half pixels round to even, as in torchvision.
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[None, ..., top : top + size, left : left + size]


def mirrored(images: Tensor, size: int) -> Tensor:
    """Return the centre of the images and of their mirror images: [2, N, C, size, size]."""
    return torch.cat([centre_crop(images, size), centre_crop(images.flip(-1), size)])


def ten_crop(images: Tensor, size: int) -> Tensor:
    """Return the corners and the centre of the images and of their mirror images: [10, N, C, size, size].

    Source: Krizhevsky et al. 2012; the MixCut paper's test protocol on FER+.
    """
    # Here, because the import takes two seconds of processor time, and `light` does without torchvision.
    from pipeline.methods.models.parts.torchvision import torchvision

    return torch.stack(torchvision.transforms.functional.ten_crop(images, [size, size]))


# Views whose probabilities are averaged, by name, and the number of faces in a pass.
VIEWS = {"centre": (centre_crop, 256), "mirror": (mirrored, 128), "ten": (ten_crop, 32)}
