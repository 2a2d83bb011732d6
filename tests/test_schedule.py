"""Learning rates over a run, against torch's own schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.training.plan import steps_per_epoch
from pipeline.training.schedule import learning_rate_factor
from tests import toy


def ours(epochs: int, per_epoch: int, **settings: Any) -> list[float]:
    train = toy.PARAMS.train.model_copy(update={"epochs": epochs, "warmup": 0.0, **settings})
    steps = epochs * per_epoch
    return [learning_rate_factor(train, step, steps) for step in range(steps)]


def torchs(kind: type[lr_scheduler.LRScheduler], count: int, **settings: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = kind(optimizer, **settings), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def by_epoch(rates: list[float], per_epoch: int) -> list[float]:
    return [rate for rate in rates for _ in range(per_epoch)]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 12), st.floats(0.05, 1.0))
def test_step_is_torchs_where_it_starts_after_one_period(
    epochs: int, per_epoch: int, every: int, factor: float
) -> None:
    mine = ours(
        epochs, per_epoch, schedule="step", schedule_start=every, schedule_every=every, schedule_factor=factor
    )
    theirs = torchs(lr_scheduler.StepLR, epochs, step_size=every, gamma=factor)
    assert mine == pytest.approx(by_epoch(theirs, per_epoch))


def test_step_follows_the_mixcut_paper() -> None:
    rates = ours(250, 1, schedule="step", schedule_start=80, schedule_every=5, schedule_factor=0.9)
    drops = [80 + 5 * i for i in range(34)]
    theirs = torchs(lr_scheduler.MultiStepLR, 250, milestones=drops, gamma=0.9)
    assert rates == pytest.approx(theirs)
    assert set(rates[:80]) == {1.0}
    assert rates[80] == pytest.approx(0.9)
    assert rates[-1] == pytest.approx(0.9**34)


@given(st.integers(1, 40), st.integers(1, 5), st.sets(st.integers(1, 45), min_size=1, max_size=5))
def test_multi_step_is_torchs(epochs: int, per_epoch: int, milestones: set[int]) -> None:
    mine = ours(epochs, per_epoch, schedule="multi_step", milestones=sorted(milestones), schedule_factor=0.1)
    theirs = torchs(lr_scheduler.MultiStepLR, epochs, milestones=sorted(milestones), gamma=0.1)
    assert mine == pytest.approx(by_epoch(theirs, per_epoch))


@given(st.integers(1, 30), st.integers(1, 20))
def test_cosine_is_torchs(epochs: int, per_epoch: int) -> None:
    steps = epochs * per_epoch
    theirs = torchs(lr_scheduler.CosineAnnealingLR, steps, T_max=steps)
    assert ours(epochs, per_epoch, schedule="cosine") == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("warmup", "flat"), [(0.0, 50), (0.2, 50), (0.6, 60)])
def test_flat_cosine_is_flat_for_half_of_the_steps_then_torchs_cosine(warmup: float, flat: int) -> None:
    rates = ours(4, 25, schedule="flat_cosine", warmup=warmup)
    rise = round(100 * warmup)
    assert rates[:rise] == pytest.approx([(step + 1) / (rise + 1) for step in range(rise)])
    assert rates[rise:flat] == [1.0] * (flat - rise)
    theirs = torchs(lr_scheduler.CosineAnnealingLR, 100 - flat, T_max=100 - flat)
    assert rates[flat:] == pytest.approx(theirs, abs=1e-9)


def test_schedules_of_the_residual_paper_change_at_its_steps() -> None:
    # 60,000 steps of 256 over 342,497 faces; SGD's rate is multiplied by 0.75 every 10,000 steps.
    epochs, per_epoch = 45, steps_per_epoch(342_497, 256)
    steps = epochs * per_epoch
    assert (per_epoch, steps) == (1_338, 60_210)
    for every, drops in ((10_000 / 1_338, 6), (7.4738, 6), (7.474, 2)):
        places = {"schedule_start": every, "schedule_every": every, "schedule_factor": 0.75}
        train = toy.PARAMS.train.model_copy(
            update={"epochs": epochs, "warmup": 0.0, "schedule": "step", **places}
        )
        for drop in range(1, drops + 1):
            around = [learning_rate_factor(train, 10_000 * drop + step, steps) for step in (-1, 0)]
            assert around == [0.75 ** (drop - 1), 0.75**drop], (every, drop)
    train = train.model_copy(update={"schedule": "flat_cosine"})
    rates = [learning_rate_factor(train, step, steps) for step in (0, 30_105, 45_157, 45_158, 60_209)]
    assert rates[:2] == [1, 1]
    assert rates[2] > 0.5 > rates[3]
    assert 0 < rates[4] < 1e-8


@given(st.integers(2, 30), st.integers(1, 20), st.floats(0.0, 0.9))
def test_one_cycle_is_torchs(epochs: int, per_epoch: int, rise: float) -> None:
    steps = epochs * per_epoch
    if rise * steps == 1:  # torch divides by zero
        rise = 0.0
    theirs = torchs(
        lr_scheduler.OneCycleLR, steps, max_lr=1.0, total_steps=steps, pct_start=rise, cycle_momentum=False
    )
    assert ours(epochs, per_epoch, schedule="one_cycle", warmup=rise) == pytest.approx(theirs, abs=1e-9)


def test_a_cycle_of_one_step_is_its_peak() -> None:
    assert ours(1, 1, schedule="one_cycle", warmup=0.15) == [1.0]


@given(
    st.sampled_from(["constant", "cosine", "flat_cosine", "step", "multi_step", "one_cycle"]),
    st.integers(1, 10),
    st.integers(1, 10),
    st.floats(0.0, 1.0),
)
def test_every_rate_is_above_zero_and_at_most_the_optimisers(
    schedule: str, epochs: int, per_epoch: int, warmup: float
) -> None:
    rates = ours(
        epochs,
        per_epoch,
        schedule=schedule,
        warmup=warmup,
        schedule_start=2.3,
        schedule_every=0.7,
        milestones=[2, 5],
    )
    assert all(0 < rate <= 1 for rate in rates)


def test_a_warm_up_rises_and_the_drops_stay_at_their_epochs() -> None:
    rates = ours(10, 10, schedule="step", warmup=0.3, schedule_start=5, schedule_every=2, schedule_factor=0.5)
    assert rates[:30] == sorted(rates[:30])
    assert rates[30:50] == [1.0] * 20
    assert rates[50::10] == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.125])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"train.schedule": "linear"},
            "train.schedule: found 'linear', allowed: 'constant', 'cosine', 'flat_cosine'",
        ),
        ({"train.schedule": "multi_step"}, "train.milestones: found [], allowed: at least one epoch"),
        ({"train.milestones": [8, 4]}, "train.milestones: found [8, 4], allowed: ascending epochs"),
        ({"train.milestones": [0]}, "train.milestones.0: found 0"),
        ({"train.schedule_every": 0}, "train.schedule_every: found 0, allowed: greater than 0"),
        (
            {"train.patience": 3, "train.best": "last"},
            "train.patience: found 3, allowed: 0 while train.best is last",
        ),
        ({"train.schedule_factor": 0.0}, "train.schedule_factor: found 0.0, allowed: greater than 0"),
        ({"train.ema": 1.0}, "train.ema: found 1.0, allowed: less than 1"),
        ({"train.clip": -1.0}, "train.clip: found -1.0, allowed: greater than or equal to 0"),
    ],
)
def test_a_schedule_that_cannot_work_is_one_line(
    project: Path, changes: dict[str, Any], expected: str
) -> None:
    toy.set_params(project, **changes)
    with pytest.raises(UserError) as error:
        params.load()
    assert expected in str(error.value)
