"""Stop a GAN's training that has diverged or collapsed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import UserError
from pipeline.synthesis.task import GanProgress, GanTask
from pipeline.training import checkpoint

# Collapsed epochs in a row that end a training. Trainings with fewer have recovered.
COLLAPSED_EPOCHS = 8
# Standard deviations below which pixels (-1..1) or scores count as equal. For pixels it is half a grey level, or a
# twentieth of the real faces' deviation where that is less; for scores it is rounding.
EQUAL_PIXELS, EQUAL_SHARE, EQUAL_SCORES = 1 / 255, 0.05, 1e-6


class Figures(NamedTuple):
    """Means over the steps of an epoch.

    Attributes:
        total: the critic's loss.
        critic: the critic's loss without the penalty.
        generator: the generator's loss, over the generator's own steps.
        distance: score of real faces minus score of generated faces.
        spread: standard deviation of the generated faces, pixels in -1..1.
        answers: standard deviation of the critic's scores.
    """

    total: float
    critic: float
    generator: float
    distance: float
    spread: float
    answers: float


def least_spread(faces: np.ndarray) -> float:
    """Return the `spread` below which generated faces are equal; `faces` are the real ones, uint8 [N, H, W, C]."""
    return min(EQUAL_PIXELS, EQUAL_SHARE * faces.std(axis=0).mean() / 127.5)


def record_epoch(figures: Figures, least: float, task: GanTask, progress: GanProgress) -> None:
    """Record an epoch's figures in `progress`.

    Args:
        figures: means over the epoch.
        least: see `least_spread`.
        task: the GAN in training.
        progress: changed in place.

    Raises:
        UserError: a loss is not a number, or the training has collapsed.
    """
    epoch = f"{task.name} in epoch {progress.epoch + 1}"
    if not all(map(math.isfinite, figures)):
        raise UserError(
            f"training of the GAN diverged for {epoch}: a loss is not a number; lower its learning_rate. "
            f"{_last_state(task)}"
        )
    progress.history.append(
        {"critic": figures.critic, "generator": figures.generator, "distance": figures.distance}
    )
    equal = ""
    if figures.spread < least:
        equal = "generated faces"
    elif figures.answers < EQUAL_SCORES:
        equal = "critic's scores"
    progress.collapsed = progress.collapsed + 1 if equal else 0
    if progress.collapsed == COLLAPSED_EPOCHS:
        raise UserError(
            f"training of the GAN collapsed for {epoch}: all {equal} have been alike for {COLLAPSED_EPOCHS} "
            f"epochs; lower its learning_rate or take another seed. {_last_state(task)}"
        )


def _last_state(task: GanTask) -> str:
    stored = checkpoint.restore(task.path)
    if stored is None:
        return "No checkpoint had been written"
    return f"The last good state, of epoch {stored[1]['epoch'] + 1}, is {task.path}"
