"""One module per GAN, with its networks and losses. All GANs share the training in `pipeline.synthesis.trainer`.

A module offers

* `CONDITIONAL`: true if one generator makes faces of all classes, false if each class has its own GAN;
* `build(settings, size, channels, classes) -> GAN`: the networks with fresh weights, and their losses.

A module without training (`none`, `repeat`) offers `generators(faces, labels, classes)` instead. It returns a
`Generator` for each class. The settings of a module are a class in `pipeline/params/gans.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn


@dataclass(frozen=True)
class GAN:
    """A generator and a critic with fresh weights, and their losses.

    Attributes:
        generator: maps noise [n, Z] and class indices int64 [n] to faces [n, C, H, W] in -1..1.
        critic: maps such faces and class indices to scores [n]; higher means real.
        critic_loss: maps the scores of real faces and those of generated faces, both [n], to the critic's loss.
        generator_loss: maps the scores of generated faces to the generator's loss.
        betas: Adam's betas for both networks.
        critic_steps: steps of the critic per step of the generator.
        penalty: weight of the gradient penalty in the critic's loss; 0: no penalty.
        mismatched: share of the critic's loss in which real faces with a wrong class replace the generated faces.
            This teaches the critic to use the class (Reed et al. 2016, algorithm 1, with a share of a half).
    """

    generator: nn.Module
    critic: nn.Module
    critic_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]
    betas: tuple[float, float]
    critic_steps: int = 1
    penalty: float = 0.0
    mismatched: float = 0.0


@dataclass(frozen=True)
class Generator:
    """A generator of one class.

    Attributes:
        network: the network in evaluation mode, see `GAN.generator`; classes of a conditional GAN share one.
        latent: length Z of the noise.
        label: class index that the network receives.
        trained_on: number of training faces of the class.
    """

    network: nn.Module
    latent: int
    label: int
    trained_on: int

    def weights(self) -> dict[str, Tensor]:
        """Return the weights on the CPU."""
        return {name: t.detach().cpu().contiguous() for name, t in self.network.state_dict().items()}

    def digest(self) -> str:
        """Return the SHA-256 of the weights in safetensors format."""
        return hashlib.sha256(save(self.weights())).hexdigest()

    def faces(self, seeds: Sequence[int], batch_size: int = 256) -> np.ndarray:
        """Return one face per seed, uint8 [n, H, W, C]. Equal seeds give equal faces."""
        noise = [np.random.default_rng(seed).standard_normal(self.latent) for seed in seeds]
        return self.of_noise(np.array(noise, np.float32).reshape(-1, self.latent), batch_size)

    @torch.no_grad()
    def of_noise(self, noise: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Return one face per row of noise, float32 [n, Z], as uint8 [n, H, W, C]."""
        device = next(self.network.buffers()).device
        parts = []
        for start in range(0, max(1, len(noise)), batch_size):
            batch = torch.from_numpy(noise[start : start + batch_size]).to(device)
            labels = torch.full((len(batch),), self.label, device=device)
            parts.append(to_faces(self.network(batch, labels)))
        return np.concatenate(parts)


def to_faces(images: Tensor) -> np.ndarray:
    """Convert float [n, C, H, W] in -1..1 to uint8 [n, H, W, C]."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def from_faces(faces: Tensor) -> Tensor:
    """Convert uint8 [n, H, W, C] to float [n, C, H, W] in -1..1."""
    return faces.permute(0, 3, 1, 2).float() / 127.5 - 1
