"""Whether a GAN's training goes on: what the figures of an epoch say of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import UserError
from pipeline.synthesis.task import Progress, Task
from pipeline.training import checkpoint

# Epochs in a row in which the critic answers every face alike, or all generated faces look alike: less than that
# happens to trainings that go on well.
COLLAPSED_EPOCHS = 8
# Deviation of pixels (-1..1) and scores below which faces and answers are alike: half a grey level, or a twentieth of
# the real faces' deviation where they hardly differ themselves; and rounding.
ALIKE_PIXELS, ALIKE_SHARE, ALIKE_SCORES = 1 / 255, 0.05, 1e-6


class Figures(NamedTuple):
    """Means over an epoch's steps.

    Attributes:
        total: the critic's loss.
        critic: the same without the penalty.
        generator: the generator's loss, over the steps that it took.
        distance: scores of real faces less those of generated ones.
        spread: deviation of the generated faces, pixels in -1..1.
        answers: deviation of the critic's scores.
    """

    total: float
    critic: float
    generator: float
    distance: float
    spread: float
    answers: float


def least_spread(faces: np.ndarray) -> float:
    """Return the deviation of pixels below which generated faces are alike, given the real ones, uint8 [N, H, W, C]."""
    return min(ALIKE_PIXELS, ALIKE_SHARE * faces.std(axis=0).mean() / 127.5)


def judge(figures: Figures, least: float, task: Task, progress: Progress) -> None:
    """Note an epoch's figures.

    Args:
        figures: of the epoch.
        least: see `least_spread`.
        task: what is learned.
        progress: which is noted in it.

    Raises:
        UserError: a loss is no longer a number, or the training has collapsed.
    """
    where = f"{task.name} in epoch {progress.epoch + 1}"
    if not all(map(math.isfinite, figures)):
        raise UserError(
            f"training of the GAN diverged for {where}: a loss is not a number; lower its learning_rate. {_kept(task)}"
        )
    progress.history.append(
        {"critic": figures.critic, "generator": figures.generator, "distance": figures.distance}
    )
    alike = ""
    if figures.spread < least:
        alike = "generated faces"
    elif figures.answers < ALIKE_SCORES:
        alike = "critic's scores"
    progress.alike = progress.alike + 1 if alike else 0
    if progress.alike == COLLAPSED_EPOCHS:
        raise UserError(
            f"training of the GAN collapsed for {where}: all {alike} have been alike for {COLLAPSED_EPOCHS} "
            f"epochs; lower its learning_rate or take another seed. {_kept(task)}"
        )


def _kept(task: Task) -> str:
    stored = checkpoint.restore(task.path)
    if stored is None:
        return "No checkpoint had been written"
    return f"The last good state, of epoch {stored[1]['epoch'] + 1}, is {task.path}"
