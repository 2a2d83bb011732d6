"""The plan of an epoch: its random numbers, drawn at once from (seed, epoch).

These are the order of the samples, their crops and partners, and the numbers of augmentation and transforms. Dropout
and albumentations have seeds of their own.

The plan does not depend on the number of workers or processes, on the device, or on interruptions. A resumed epoch
skips the finished batches of the plan. If several processes train, each takes its part of every batch.

The random numbers that every augmentation needs are drawn first. So runs with different augmentations see the same
order, the same crops and the same partners (the samples to mix with).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

Draw = Callable[[np.random.Generator, int, int], dict[str, np.ndarray]]
Order = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """The batch for one step of a plan. Each field has one entry per sample, int64 unless noted.

    The exception is a batch that `part` returned: there `partner` and `draws` can be shorter than `samples`.
    """

    samples: Tensor  # row in the training set
    top: Tensor  # of the crop, pixels
    left: Tensor
    mirrored: Tensor  # bool
    partner: Tensor  # the sample to mix with, as its position in this batch
    repeat: Tensor  # how often the epoch has shown the sample before
    draws: dict[str, Tensor]  # random numbers of the augmentation
    transform: dict[str, Tensor]  # random numbers of the geometric and colour transforms

    def part(self, rows: slice) -> Batch:
        """Return the samples in `rows`, followed by their partners from outside `rows`.

        `partner` and `draws` have entries for the samples in `rows` alone.
        """
        count = len(self.samples)
        own = torch.arange(count)[rows]
        if len(own) == count:
            return self
        others = torch.ones(count, dtype=torch.bool)
        others[own] = False
        partner = self.partner[own]
        needed = torch.cat([own, partner[others[partner]]])
        position = torch.empty(count, dtype=torch.int64)
        position[needed] = torch.arange(len(needed))
        return Batch(
            samples=self.samples[needed],
            top=self.top[needed],
            left=self.left[needed],
            mirrored=self.mirrored[needed],
            partner=position[partner],
            repeat=self.repeat[needed],
            draws={name: drawn[own] for name, drawn in self.draws.items()},
            transform={name: drawn[needed] for name, drawn in self.transform.items()},
        )

    def tensors(self) -> list[Tensor]:
        """Return all tensors in a fixed order."""
        own = [self.samples, self.top, self.left, self.mirrored, self.partner, self.repeat]
        return [*own, *self.draws.values(), *self.transform.values()]

    def holding(self, tensors: Sequence[Tensor]) -> Batch:
        """Return a batch with the names of this one and other tensors, in the order of `tensors`."""
        samples, top, left, mirrored, partner, repeat = tensors[:6]
        rest = iter(tensors[6:])
        draws, transform = ({name: next(rest) for name in drawn} for drawn in (self.draws, self.transform))
        return Batch(samples, top, left, mirrored, partner, repeat, draws, transform)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        return self.holding([tensor.to(device, non_blocking=True) for tensor in self.tensors()])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of steps that show `count` samples once, with at least two samples in each step.

    Batch norm needs two samples. With a `batch_size` of 2 and an odd number of samples, one batch therefore has three.
    """
    return max(1, min(-(-count // batch_size), count // 2))


def sampler(labels: np.ndarray, sampling: str) -> tuple[int, Order]:
    """Return the number of samples in an epoch and the function that draws their order.

    Args:
        labels: class index of each sample of the training set, int [N].
        sampling: `natural` shows every sample once. `over` shows every class as often as the largest one: it repeats
            all samples of a class equally often and, to reach the exact number, a random few of them once more.
            `under` shows every class as often as the smallest one and draws new samples in each epoch. Classes
            without samples are left out.
    """
    if sampling == "natural":
        return len(labels), lambda rng: rng.permutation(len(labels))
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    size = (max if sampling == "over" else min)(map(len, classes))

    def draw(rng: np.random.Generator) -> np.ndarray:
        parts = [(np.tile(c, size // len(c)), rng.permutation(c)[: size % len(c)]) for c in classes]
        return rng.permutation(np.concatenate([part for pair in parts for part in pair]))

    return size * len(classes), draw


def epoch_plan(
    seed: int,
    epoch: int,
    count: int,
    batch_size: int,
    *,
    margin: int,
    crop: int,
    mirror: bool,
    draw: Draw,
    per_batch: bool = False,
    order: Order | None = None,
    transform: Draw | None = None,
    device: torch.device = torch.device("cpu"),
) -> list[Batch]:
    """Draw the plan of an epoch.

    Batches differ in size by at most one sample. A short last batch would disturb batch norm. No sample is dropped.

    Args:
        seed: of the run.
        epoch: from 0.
        count: samples in the epoch.
        batch_size: samples in the largest batch; for an exception see `steps_per_epoch`.
        margin: side of the face minus side of the crop in pixels.
        crop: side of the crop in pixels.
        mirror: whether to mirror each face with probability 1/2.
        draw: function of (rng, count, crop) that draws the augmentation's random numbers.
        per_batch: whether all samples of a batch use the draw of its first sample.
        order: draws the samples of the epoch, see `sampler`; None shows each of the `count` samples once.
        transform: like `draw`, for the geometric and colour transforms; called last.
        device: of the returned tensors.
    """
    rng = np.random.default_rng((seed, epoch))
    batches = np.array_split(np.arange(count), steps_per_epoch(count, batch_size))
    columns: dict[str, np.ndarray] = {
        "samples": order(rng) if order else rng.permutation(count),
        "top": rng.integers(0, margin + 1, count),
        "left": rng.integers(0, margin + 1, count),
        "mirrored": (rng.random(count) < 0.5) & mirror,
        "partner": np.concatenate([rng.permutation(len(b)) for b in batches]),
    }
    columns["repeat"] = (
        pd.Series(columns["samples"]).groupby(columns["samples"]).cumcount().to_numpy(copy=True)
    )
    drawn = draw(rng, count, crop)
    if per_batch:
        rows = np.repeat([b[0] for b in batches], [len(b) for b in batches])
        drawn = {name: values[rows] for name, values in drawn.items()}
    transformed = transform(rng, count, crop) if transform else {}
    own, draws, transforms = (
        {name: torch.from_numpy(values).to(device) for name, values in group.items()}
        for group in (columns, drawn, transformed)
    )
    whole = Batch(**own, draws=draws, transform=transforms)
    parts = [slice(b[0], b[-1] + 1) for b in batches]
    return [whole.holding([tensor[part] for tensor in whole.tensors()]) for part in parts]
