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


@dataclass(frozen=True)
class Batch:
    """The slice of a plan that makes one step; every field has one entry per sample, int64 unless noted."""

    samples: Tensor  # which sample of the training set
    top: Tensor  # of the crop, pixels
    left: Tensor
    mirrored: Tensor  # bool
    partner: Tensor  # position in this batch of the sample to mix with
    draws: dict[str, Tensor]  # what the augmentation drew


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of steps in which `count` samples are seen once, each with at least two of them.

    Batch norm needs two; so the batches of a tiny set can be one sample larger than `batch_size`.
    """
    return max(1, min(-(-count // batch_size), count // 2))


def epoch_plan(
    seed: int, epoch: int, count: int, batch_size: int, margin: int, crop: int, mirror: bool, draw: Draw
) -> list[Batch]:
    """Draw the plan of an epoch.

    Batches differ in size by at most one sample: no short last batch upsets batch norm, and none is dropped.

    Args:
        seed: of the run.
        epoch: from 0.
        count: samples in the training set.
        batch_size: of the largest batch.
        margin: pixels by which a face is larger than the crop.
        crop: side of the crop in pixels.
        mirror: whether half of the faces are mirrored.
        draw: the augmentation's draws for (rng, samples, crop).
    """
    rng = np.random.default_rng((seed, epoch))
    batches = np.array_split(np.arange(count), steps_per_epoch(count, batch_size))
    columns: dict[str, np.ndarray] = {
        "samples": rng.permutation(count),
        "top": rng.integers(0, margin + 1, count),
        "left": rng.integers(0, margin + 1, count),
        "mirrored": (rng.random(count) < 0.5) & mirror,
        "partner": np.concatenate([rng.permutation(len(b)) for b in batches]),
    }
    drawn = draw(rng, count, crop)
    plan = []
    for b in batches:
        part = slice(b[0], b[-1] + 1)
        common = {name: torch.from_numpy(values[part]) for name, values in columns.items()}
        plan.append(Batch(**common, draws={name: torch.from_numpy(v[part]) for name, v in drawn.items()}))
    return plan
