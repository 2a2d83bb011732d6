"""Pooling to a grid of the size that fully connected layers expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
