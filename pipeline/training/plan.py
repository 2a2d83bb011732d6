"""Everything random in an epoch, drawn in one go from (seed, epoch).

The plan does not depend on the number of workers or processes, on the device, or on where a run was interrupted:
resuming in the middle of an epoch is an index into it, a second process takes its slice. What is common to all
methods is drawn first, so that two methods see the same order, crops and partners and differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[np.random.Generator, int, int], dict[str, np.ndarray]]
Order = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """The slice of a plan that makes one step; every field has one entry per sample, int64 unless noted."""

    samples: Tensor  # which sample of the training set
    top: Tensor  # of the crop, pixels
    left: Tensor
    mirrored: Tensor  # bool
    partner: Tensor  # position in this batch of the sample to mix with
    draws: dict[str, Tensor]  # what the augmentation drew
    transform: dict[str, Tensor]  # what the geometric and colour transforms drew

    def part(self, rows: slice) -> Batch:
        """Return some of the batch's samples, followed by those of their partners that are not among them.

        What concerns the mixing, `partner` and `draws`, has entries for the former alone.
        """
        count = len(self.samples)
        own = torch.arange(count)[rows]
        if len(own) == count:
            return self
        others = torch.ones(count, dtype=torch.bool)
        others[own] = False
        partner = self.partner[own]
        needed = torch.cat([own, partner[others[partner]]])
        place = torch.empty(count, dtype=torch.int64)
        place[needed] = torch.arange(len(needed))
        return Batch(
            samples=self.samples[needed],
            top=self.top[needed],
            left=self.left[needed],
            mirrored=self.mirrored[needed],
            partner=place[partner],
            draws={name: drawn[own] for name, drawn in self.draws.items()},
            transform={name: drawn[needed] for name, drawn in self.transform.items()},
        )


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of steps in which `count` samples are seen once, each with at least two of them.

    Batch norm needs two; so the batches of a tiny set can be one sample larger than `batch_size`.
    """
    return max(1, min(-(-count // batch_size), count // 2))


def sampler(labels: np.ndarray, sampling: str) -> tuple[int, Order]:
    """Return how many samples an epoch shows and the function that draws which ones, in order.

    Args:
        labels: class index of each sample of the training set, int [N].
        sampling: `natural`, every sample once; `over`, every class as often as the largest: its samples come
            equally often, but for a remainder that is drawn; `under`, every class as often as the smallest: a
            part of its samples, drawn anew for each epoch. A class without samples is left out.
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
    order: Order | None = None,
    transform: Draw | None = None,
) -> list[Batch]:
    """Draw the plan of an epoch.

    Batches differ in size by at most one sample: no short last batch upsets batch norm, and none is dropped.

    Args:
        seed: of the run.
        epoch: from 0.
        count: samples in the epoch.
        batch_size: of the largest batch.
        margin: pixels by which a face is larger than the crop.
        crop: side of the crop in pixels.
        mirror: whether half of the faces are mirrored.
        draw: the augmentation's draws for (rng, samples, crop).
        order: draws which samples the epoch shows, see `sampler`; each of `count` once if None.
        transform: the draws of geometric and colour transforms, made last.
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
    drawn = draw(rng, count, crop)
    transformed = transform(rng, count, crop) if transform else {}
    plan = []
    for b in batches:
        part = slice(b[0], b[-1] + 1)
        plan.append(
            Batch(
                **_tensors(columns, part), draws=_tensors(drawn, part), transform=_tensors(transformed, part)
            )
        )
    return plan


def _tensors(columns: dict[str, np.ndarray], part: slice) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values[part]) for name, values in columns.items()}
