"""What a GAN learns, in which order, and where its training stands.

Every random number of a step follows from (seed, name, epoch, step), so going on in the middle of an epoch is an index.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.methods.gans import Adversaries
from pipeline.params.gans import AdversarialSettings


@dataclass(frozen=True)
class Task:
    """What one GAN learns.

    Attributes:
        name: the class, or `all`.
        faces: uint8 [N, H, W, C], N at least 2.
        labels: class of each face, int64 [N], an index into the classes asked for.
        classes: how many these are.
        make: builds generator and critic.
        settings: of the method.
        seed: of the run.
        precision: of forward passes; losses, penalty and optimisers are float32.
        path: of its checkpoint, which stays when it is done: the stage removes those of all tasks at once.
        checkpoint_seconds: between two checkpoints.
    """

    name: str
    faces: np.ndarray
    labels: np.ndarray
    classes: int
    make: Callable[[Any, int, int, int], Adversaries]
    settings: AdversarialSettings
    seed: int
    precision: torch.dtype
    path: Path
    checkpoint_seconds: float

    def steps_per_epoch(self) -> int:
        """Return the critic's steps in an epoch; batch norm needs batches of two faces."""
        return max(1, min(-(-len(self.faces) // self.settings.batch_size), len(self.faces) // 2))

    def epochs(self) -> int:
        """Return the settings' epochs or, where these hold fewer than `least_steps`, so many that they hold them."""
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
        """Draw which faces each batch of an epoch holds: each one once or, of several classes, equally many of each."""
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
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the epoch being trained, from 0.
        step: steps of it that are done.
        history: of each finished epoch the mean loss of `critic` and `generator`, and the `distance`: the mean score
            of real faces less that of generated ones, which for WGAN-GP estimates Wasserstein's distance.
        alike: finished epochs in a row in which the training had collapsed.
        shown: epochs, from 1, after which faces were kept.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    alike: int = 0
    shown: list[int] = field(default_factory=list)
