"""Squares in a face: drawn by centre and side, clipped at the border."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.augment import Draws


def draw(rng: np.random.Generator, area: np.ndarray, size: int) -> Draws:
    """Return squares of `area` (shares of the face, [N]) with uniform centres, as the bounds y1, y2, x1, x2.

    Bounds are whole pixels in 0..size, the second one exclusive. What sticks out is clipped, so the area that
    is left can be smaller than the one asked for, as in cutout, CutMix and MixCut.
    """
    half = np.sqrt(area) * size / 2
    bounds: Draws = {}
    for axis in ("y", "x"):
        centre = rng.uniform(0, size, len(area))
        bounds[f"{axis}1"] = np.rint(np.clip(centre - half, 0, size)).astype(np.int64)
        bounds[f"{axis}2"] = np.rint(np.clip(centre + half, 0, size)).astype(np.int64)
    return bounds


def inside(draws: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return a mask [N, 1, H, W] that is true inside each sample's square."""
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device).reshape(1, 1, -1, 1)
    x = torch.arange(width, device=images.device).reshape(1, 1, 1, -1)
    b = {key: draws[key].reshape(-1, 1, 1, 1) for key in ("y1", "y2", "x1", "x2")}
    return (y >= b["y1"]) & (y < b["y2"]) & (x >= b["x1"]) & (x < b["x2"])


def share(draws: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the share of each face, [N], that its square covers after clipping."""
    height, width = images.shape[-2:]
    return ((draws["y2"] - draws["y1"]) * (draws["x2"] - draws["x1"])).to(images.dtype) / (height * width)
