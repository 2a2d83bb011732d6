"""Weights in a quarter of the bytes, for models that come with the project: int8 with a scale per output channel.

A weight is its whole number times the scale of its channel, so it is off by at most half a scale. Prediction computes
with the products in the model's own precision; only the file is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # added to the name of a packed tensor
SMALLEST = 1024  # values of a packed tensor; those with fewer stay as they are
_STEPS = 127


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by name, in which int8 and a float32 scale per output channel replace each large tensor."""
    small: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim < 2 or tensor.numel() < SMALLEST:
            small[name] = tensor
            continue
        largest = tensor.flatten(1).abs().amax(1)
        scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / _STEPS
        small[name] = (tensor / _per_channel(scale, tensor)).round().to(torch.int8)
        small[name + SCALE] = scale
    return small


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by name, in which float32 replaces what `packed` wrote; other tensors stay."""
    return {
        name: tensor * _per_channel(tensors[name + SCALE], tensor) if name + SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if name.removesuffix(SCALE) not in tensors or not name.endswith(SCALE)
    }


def _per_channel(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (tensor.ndim - 1))
