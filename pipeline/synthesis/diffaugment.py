"""Differentiable augmentation: keeps a critic from memorising a small training set.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020, section 3. The critic sees
real and generated faces only after transforms of the same kinds, in its own steps and in the generator's. Gradients
flow through the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT, HOLE = 0.125, 0.5  # shares of the face's side; the authors' settings


@dataclass(frozen=True)
class UniformDraws:
    """Random numbers for n faces, uniform in 0..1, float [n] each."""

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    down: Tensor
    right: Tensor
    hole_top: Tensor
    hole_left: Tensor


def draw(count: int, random: torch.Generator) -> UniformDraws:
    """Draw the random numbers for `count` faces, on the device of `random`."""
    return UniformDraws(*torch.rand(7, count, generator=random, device=random.device))


def apply(images: Tensor, kinds: Sequence[str], draws: UniformDraws) -> Tensor:
    """Return the transformed faces.

    Args:
        images: float [n, C, H, W] in -1..1.
        kinds: any of
            - `colour`: brightness -0.5..+0.5, saturation times 0..2, contrast times 0.5..1.5;
            - `translation`: by up to an eighth of the side; the free border is black;
            - `cutout`: a grey square with half the face's side, clipped at the border.
        draws: random numbers for n faces.
    """
    if "colour" in kinds:
        images = images + (draws.brightness - 0.5).view(-1, 1, 1, 1)
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (2 * draws.saturation).view(-1, 1, 1, 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (draws.contrast + 0.5).view(-1, 1, 1, 1)
    if "translation" in kinds:
        images = _shifted(images, draws.down, draws.right)
    if "cutout" in kinds:
        images = images * _hole(images.shape[-1], draws.hole_top, draws.hole_left)
    return images


def _shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    side = images.shape[-1]
    most = int(side * SHIFT + 0.5)
    steps = torch.arange(side, device=images.device)
    # Indices into the faces padded by one black pixel; positions outside a face are clamped to that border.
    rows, columns = (
        (steps + 1 - most + (share * (2 * most + 1)).long()[:, None]).clamp(0, side + 1)
        for share in (down, right)
    )
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0).permute(0, 2, 3, 1)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _hole(side: int, top: Tensor, left: Tensor) -> Tensor:
    """Return a mask, float [n, 1, H, W]: 0 in the hole, 1 elsewhere. The hole's centre lies anywhere in the face."""
    hole = int(side * HOLE + 0.5)
    steps = torch.arange(side, device=top.device)
    inside = []
    for share in (top, left):
        start = (share * (side + 1 - hole % 2)).long()[:, None] - hole // 2
        inside.append((steps >= start) & (steps < start + hole))
    return (~(inside[0][:, None, :, None] & inside[1][:, None, None, :])).float()
