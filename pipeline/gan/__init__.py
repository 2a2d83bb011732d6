"""One module per GAN: what it trains and how it draws faces.

A module offers `Params`, its settings under `gans.<module>`, and
`fit(params, faces, labels, targets, seed, device) -> dict[str, Generator]`: one generator for each class name in
`targets`, trained on `faces` (uint8 [N, H, W, C], the training split alone) with `labels` (class names, N). A
GAN that is conditioned on the class returns generators that share their weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn


@dataclass(frozen=True)
class Generator:
    """A trained generator of one class.

    Attributes:
        network: in evaluation mode; maps noise [n, Z] to faces [n, C, H, W] in -1..1.
        latent: Z.
        device: of the network.
        trained_on: how many faces of the class it has seen.
    """

    network: nn.Module
    latent: int
    device: torch.device
    trained_on: int

    def weights(self) -> dict[str, Tensor]:
        """Return the weights, on the CPU."""
        return {name: t.detach().cpu().contiguous() for name, t in self.network.state_dict().items()}

    def digest(self) -> str:
        """Return the SHA-256 of the weights, as `save` writes them."""
        return hashlib.sha256(save(self.weights())).hexdigest()

    @torch.no_grad()
    def faces(self, seeds: Sequence[int], batch_size: int = 256) -> np.ndarray:
        """Return one face per seed, uint8 [n, H, W, C]; the same seed gives the same face."""
        parts = []
        for start in range(0, len(seeds), batch_size):
            noise = np.stack(
                [
                    np.random.default_rng(s).standard_normal(self.latent)
                    for s in seeds[start : start + batch_size]
                ]
            )
            images = self.network(torch.from_numpy(noise).float().to(self.device))
            parts.append(to_faces(images))
        return np.concatenate(parts)


def to_faces(images: Tensor) -> np.ndarray:
    """Return float [n, C, H, W] in -1..1 as uint8 [n, H, W, C]."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def from_faces(faces: Tensor) -> Tensor:
    """Return uint8 [n, H, W, C] as float [n, C, H, W] in -1..1."""
    return faces.permute(0, 3, 1, 2).float() / 127.5 - 1
