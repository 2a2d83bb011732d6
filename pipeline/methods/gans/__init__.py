"""One module per GAN: its networks and losses. What all share, the training, is `pipeline.synthesis.training`.

A module offers

* `CONDITIONAL`: whether one generator serves all classes, or each class gets its own;
* `adversaries(settings, size, channels, classes) -> Adversaries`.

A module that trains nothing (`none`, `repeat`) offers `generators(faces, labels, classes)` instead, which returns a
`Generator` by class. A module's settings are a class in `pipeline/params/gans.py`.
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
class Adversaries:
    """A generator and its critic, with fresh weights, and what each of them minimises.

    Attributes:
        generator: maps noise [n, Z] and class indices int64 [n] to faces [n, C, H, W] in -1..1.
        critic: maps such faces and class indices to scores [n]; higher means real.
        critic_loss: of the scores of real and of generated faces, both [n].
        generator_loss: of the scores of generated faces.
        betas: Adam's, for both.
        critic_steps: steps of the critic for each one of the generator.
        penalty: weight of the gradient penalty in the critic's loss; 0: none.
        mismatched: share of the critic's loss in which real faces that go by the name of another class stand for
            generated ones (Reed et al. 2016, algorithm 1: a half), which teaches it to look at the class.
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
    """A trained generator, of one class.

    Attributes:
        network: in evaluation mode; as `Adversaries.generator`. Classes of a conditional GAN share it.
        latent: Z.
        label: index of the class that it is asked for.
        trained_on: how many faces of the class it has seen.
    """

    network: nn.Module
    latent: int
    label: int
    trained_on: int

    def weights(self) -> dict[str, Tensor]:
        """Return the weights, on the CPU."""
        return {name: t.detach().cpu().contiguous() for name, t in self.network.state_dict().items()}

    def digest(self) -> str:
        """Return the SHA-256 of the weights, as `save` writes them."""
        return hashlib.sha256(save(self.weights())).hexdigest()

    def faces(self, seeds: Sequence[int], batch_size: int = 256) -> np.ndarray:
        """Return one face per seed, uint8 [n, H, W, C]; the same seed gives the same face."""
        noise = [np.random.default_rng(seed).standard_normal(self.latent) for seed in seeds]
        return self.of_noise(np.array(noise, np.float32).reshape(-1, self.latent), batch_size)

    @torch.no_grad()
    def of_noise(self, noise: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Return one face for each row of noise, float32 [n, Z], as uint8 [n, H, W, C]."""
        device = next(self.network.buffers()).device
        parts = []
        for start in range(0, max(1, len(noise)), batch_size):
            some = torch.from_numpy(noise[start : start + batch_size]).to(device)
            labels = torch.full((len(some),), self.label, device=device)
            parts.append(to_faces(self.network(some, labels)))
        return np.concatenate(parts)


def to_faces(images: Tensor) -> np.ndarray:
    """Return float [n, C, H, W] in -1..1 as uint8 [n, H, W, C]."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def from_faces(faces: Tensor) -> Tensor:
    """Return uint8 [n, H, W, C] as float [n, C, H, W] in -1..1."""
    return faces.permute(0, 3, 1, 2).float() / 127.5 - 1
