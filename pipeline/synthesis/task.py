"""Training task of one GAN: its faces, the order in which it sees them, and its progress.

Every random number of a step follows from (seed, name, epoch, step). A training that resumes in the middle of an epoch
therefore needs only the step's index.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.methods.gans import GAN
from pipeline.params.gans import AdversarialSettings


@dataclass(frozen=True)
class GanTask:
    """One GAN to train.

    Attributes:
        name: name of the class, or `all`.
        faces: uint8 [N, H, W, C], N at least 2.
        labels: class of each face, int64 [N], 0 to `classes` - 1.
        classes: number of classes of the GAN; 1 for a GAN of one class.
        build: builds the networks, as in the modules of `pipeline.methods.gans`.
        settings: block of the method in `params.yaml`.
        seed: seed of the run.
        precision: precision of forward passes; losses, penalty and optimisers use float32.
        path: checkpoint. It stays after training; the stage removes the checkpoints of all tasks together.
        checkpoint_seconds: time between two checkpoints.
    """

    name: str
    faces: np.ndarray
    labels: np.ndarray
    classes: int
    build: Callable[[Any, int, int, int], GAN]
    settings: AdversarialSettings
    seed: int
    precision: torch.dtype
    path: Path
    checkpoint_seconds: float

    def new_networks(self) -> GAN:
        """Return generator and critic with fresh weights, which follow from the seed."""
        torch.manual_seed(self.seed)
        _, size, _, channels = self.faces.shape
        return self.build(self.settings, size, channels, self.classes)

    def steps_per_epoch(self) -> int:
        """Return the critic's steps in an epoch. Every batch holds at least the two faces that batch norm needs."""
        return max(1, min(-(-len(self.faces) // self.settings.batch_size), len(self.faces) // 2))

    def epochs(self) -> int:
        """Return the number of epochs: `epochs`, or more where these hold fewer than `least_steps` steps."""
        return max(self.settings.epochs, -(-self.settings.least_steps // self.steps_per_epoch()))

    def steps(self) -> int:
        """Return the critic's steps in all epochs."""
        return self.epochs() * self.steps_per_epoch()

    def present(self) -> np.ndarray:
        """Return the classes that have faces, int64, ascending."""
        return np.unique(self.labels)

    def random(self, *place: int) -> np.random.Generator:
        """Return the random numbers of an epoch, or of a part of it."""
        return np.random.default_rng((self.seed, zlib.crc32(self.name.encode()), *place))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Return the indices of the faces in each batch of an epoch.

        With one class, each face occurs once. With several classes, each class occurs equally often.
        """
        rng = self.random(epoch)
        count = len(self.faces)
        order = rng.permutation(count)
        present = self.present()
        if len(present) > 1:
            parts = -(-count // len(present))
            chosen = [rng.choice(np.flatnonzero(self.labels == i), parts) for i in present]
            order = rng.permuted(np.stack(chosen, 1), axis=1).ravel()[:count]
        return np.array_split(order, self.steps_per_epoch())


@dataclass
class GanProgress:
    """Progress of a GAN's training.

    Attributes:
        epoch: current epoch, from 0.
        step: number of finished steps in it.
        history: for each finished epoch the mean losses `critic` and `generator`, and `distance`: the mean score of
            real faces minus that of generated faces. For WGAN-GP it estimates Wasserstein's distance.
        collapsed: number of collapsed epochs in a row, up to the last finished one.
        shown: epochs, from 1, after which sample faces were kept.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    collapsed: int = 0
    shown: list[int] = field(default_factory=list)
