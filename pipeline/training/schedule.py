"""The learning rate over a run, as factors on the optimiser's rate."""

from __future__ import annotations

import math
from bisect import bisect_right

from pipeline.params.model import Train

# Start of a cycle as a fraction of its peak, and end as a fraction of the start, as in torch's OneCycleLR.
CYCLE_START, CYCLE_END = 1 / 25, 1e-4


def learning_rate_factor(train: Train, step: int, steps: int) -> float:
    """Return the factor on the learning rate at `step`.

    The rate first rises in a linear warm-up. The schedules `step` and `multi_step` count epochs from the start of the
    run, warm-up included, as torch's StepLR and MultiStepLR do, so a drop may fall into the warm-up. `schedule_start`
    and `schedule_every` need not be whole epochs (10,000 steps / 1,338 steps per epoch = 7.47 epochs); each drop comes
    at the nearest training step. `cosine` falls from the end of the warm-up. `flat_cosine` falls from the middle of the
    run, as in the residual convnet paper's code; if the warm-up ends later, it falls from there. In `one_cycle` (Smith
    & Topin 2019) the warm-up is the rise of the cycle; rise and fall are half cosines, and the momentum stays constant.

    Args:
        train: the block `train`.
        step: from 0.
        steps: of the run, a multiple of `train.epochs`.
    """
    warmup = train.warmup * steps
    if train.schedule == "one_cycle":
        return _one_cycle(warmup - 1, step, steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1) * _drops(train, step, steps)
    if train.schedule == "cosine":
        return _fall(step, warmup, steps)
    if train.schedule == "flat_cosine":
        return _fall(step, max(warmup, steps / 2), steps)
    return _drops(train, step, steps)


def _fall(step: int, start: float, steps: int) -> float:
    """Return 1 up to the step `start`, then half a cosine. It would reach 0 one step after the last one."""
    return 0.5 * (1 + math.cos(math.pi * max(step - start, 0) / max(steps - start, 1)))


def _drops(train: Train, step: int, steps: int) -> float:
    per_epoch = steps // train.epochs
    if train.schedule == "step":
        # Drop number i comes at (start + i x every) x per_epoch, rounded to a whole step.
        since = (step + 0.5) / per_epoch - train.schedule_start
        return train.schedule_factor ** (1 + since // train.schedule_every) if since >= 0 else 1.0
    if train.schedule == "multi_step":
        return train.schedule_factor ** bisect_right(train.milestones, step // per_epoch)
    return 1.0


def _one_cycle(peak: float, step: int, last: int) -> float:
    if not last:  # a single step is the peak
        return 1.0
    if step <= peak:
        return _half_cosine(CYCLE_START, 1.0, step / peak if peak > 0 else 1.0)
    return _half_cosine(1.0, CYCLE_START * CYCLE_END, (step - peak) / (last - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
