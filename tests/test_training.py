"""The training engine: the plan of an epoch, exact resumption, the best epoch, the model file."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from tqdm import tqdm

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.evaluation import metrics
from pipeline.inference import model_file
from pipeline.inference import samples as data
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import probabilities
from pipeline.methods.augments import mixcut, none
from pipeline.methods.losses import Loss
from pipeline.methods.models.parts import torchvision  # noqa: F401 - makes torchvision importable beside a CPU torch
from pipeline.tables import paths, schema, store
from pipeline.training import batch_transform, checkpoint, engine, plan
from pipeline.training.average import Average
from pipeline.training.engine import TrainingRun
from pipeline.training.schedule import learning_rate_factor
from tests import toy

TRAIN = [sys.executable, "-m", "pipeline", "train"]


def planned(seed: int, epoch: int, count: int, batch: int, method=none) -> list[plan.Batch]:
    settings = toy.settings("augment", method.__name__.rpartition(".")[2])
    return plan.epoch_plan(
        seed,
        epoch,
        count,
        batch,
        margin=4,
        crop=44,
        mirror=True,
        draw=lambda rng, n, size: method.draw(settings, rng, n, size),
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(2, 400), st.integers(2, 64))
def test_an_epoch_shows_every_sample_once_in_batches_of_like_size(
    seed: int, epoch: int, count: int, batch: int
) -> None:
    batches = planned(seed, epoch, count, batch)
    assert sorted(torch.cat([b.samples for b in batches]).tolist()) == list(range(count))
    sizes = {len(b.samples) for b in batches}
    assert max(sizes) <= batch + 1
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == plan.steps_per_epoch(count, batch)
    for b in batches:
        assert sorted(b.partner.tolist()) == list(range(len(b.samples)))
        assert b.top.min() >= 0
        assert b.top.max() <= 4


def test_epochs_and_seeds_differ_and_repeat() -> None:
    same, again = planned(1, 3, 100, 10), planned(1, 3, 100, 10)
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(same, again, strict=True))
    for other in (planned(1, 4, 100, 10), planned(2, 3, 100, 10)):
        assert not torch.equal(same[0].samples, other[0].samples)


@pytest.mark.parametrize("name", ["cutout", "mixup", "cutmix", "mixcut", "mixaugment", "fmix"])
def test_per_batch_all_faces_of_a_batch_share_the_draw_of_the_first(project: Path, name: str) -> None:
    plans = {}
    for per in ("face", "batch"):
        toy.write(project, augment=name, **{f"augments.{name}.per": per})
        plans[per] = _run().plan(1)
    for own, shared in zip(plans["face"], plans["batch"], strict=True):
        for field in ("samples", "top", "left", "mirrored", "partner"):
            assert torch.equal(getattr(own, field), getattr(shared, field))
        assert list(own.draws) == list(shared.draws)
        for drawn, once in zip(own.draws.values(), shared.draws.values(), strict=True):
            assert torch.equal(once, drawn[:1].expand_as(drawn))
    draws = [[batch.draws[key][0].item() for key in plans["batch"][0].draws] for batch in plans["batch"]]
    assert len({tuple(batch) for batch in draws}) > 3, "batches differ"


def test_two_methods_see_the_same_order_crops_and_partners() -> None:
    for a, b in zip(planned(1, 0, 100, 16, none), planned(1, 0, 100, 16, mixcut), strict=True):
        for name in ("samples", "top", "left", "mirrored", "partner"):
            assert torch.equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_and_mirror_are_torchvisions(channels: int) -> None:
    from torchvision.transforms.v2 import functional as F

    rng = np.random.default_rng(0)
    faces = torch.from_numpy(rng.integers(0, 256, (20, 48, 48, channels), dtype=np.uint8))
    top, left = (torch.from_numpy(rng.integers(0, 5, 20)) for _ in range(2))
    mirrored = torch.from_numpy(rng.random(20) < 0.5)
    ours = batch_transform.crop(faces, 44, top, left, mirrored)
    for i in range(20):
        theirs = F.crop(faces[i].permute(2, 0, 1), int(top[i]), int(left[i]), 44, 44)
        theirs = F.to_dtype(F.horizontal_flip(theirs) if mirrored[i] else theirs, torch.float32, scale=True)
        torch.testing.assert_close(ours[i], theirs)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_learning_rate_rises_then_falls_to_zero(project: Path) -> None:
    train = params.load().train.model_copy(update={"warmup": 0.1, "schedule": "cosine"})
    rates = [learning_rate_factor(train, step, 1000) for step in range(1000)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[100] == 1
    assert rates[550] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0, abs=1e-5)
    constant = train.model_copy(update={"schedule": "constant", "warmup": 0.0})
    assert {learning_rate_factor(constant, step, 1000) for step in range(1000)} == {1.0}


@pytest.mark.parametrize(
    ("loss", "augment"),
    [("center", "none"), ("weighted_center", "mixup"), ("weighted_cluster", "mixaugment")],
)
def test_a_resumed_run_has_the_same_centers_to_the_last_bit(project: Path, loss: str, augment: str) -> None:
    toy.write(project, loss=loss, augment=augment, **{"optimizers.sgd.learning_rate": 0.01})
    whole = _run()
    whole.fit(lambda index, figures: None)
    assert whole.learner.loss.centers.isfinite().all()
    assert whole.learner.loss.centers.abs().sum(1).min() > 0

    toy.set_params(project, **{"train.checkpoint_seconds": 0})
    interrupted = _run()
    step, interrupted._step = interrupted._step, lambda *given: _until(interrupted, 1, 3) or step(*given)
    with pytest.raises(InterruptedError):
        interrupted.fit(lambda index, figures: None)
    resumed = _run()
    assert resumed.resumed
    assert (resumed.state.epoch, resumed.state.step) == (1, 3)
    assert torch.equal(resumed.learner.loss.centers, interrupted.learner.loss.centers)
    resumed.fit(lambda index, figures: None)
    assert torch.equal(resumed.learner.loss.centers, whole.learner.loss.centers)
    weights = whole.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.network.state_dict().items())
    assert resumed.state.history == whole.state.history


def _run() -> TrainingRun:
    return toy.training_run(params.load())


def _until(run: TrainingRun, epoch: int, step: int) -> None:
    if (run.state.epoch, run.state.step) == (epoch, step):
        raise InterruptedError


class Recorded(Loss):
    """Keeps what it is told, so that a test can look at it."""

    def __init__(self) -> None:
        super().__init__("mean", torch.ones(1, 2))
        self.seen: list[torch.Tensor] = []
        self.values: list[float] = []
        self.moved: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(
        self, logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, totals: None
    ) -> torch.Tensor:
        self.right = targets.gather(1, logits.argmax(1, keepdim=True)).sum().item()
        self.seen.append(targets)
        self.features = features
        value = F.cross_entropy(logits, targets)
        self.values.append(value.item())
        return value

    def update(self, features: torch.Tensor, targets: torch.Tensor) -> None:
        self.moved.append((features, targets))


def _recorded(run: TrainingRun) -> Recorded:
    run.learner.loss = Recorded()
    return run.learner.loss


def test_shares_of_votes_reach_the_loss(project: Path) -> None:
    toy.write(project, augment="none")
    table = store.read_parquet(paths.LABELS, ["id", "dataset", "split", "label", "target"])
    shares = np.random.default_rng(0).dirichlet([1, 1], len(table)).astype(np.float32)
    rows = [row | {"target": share.tolist()} for row, share in zip(table.to_pylist(), shares, strict=True)]
    store.write_rows(paths.LABELS, schema.labels(toy.CLASSES), rows)
    run = _run()
    seen = _recorded(run).seen
    run._epoch()
    expected = shares[[row["split"] == "train" for row in rows]]
    np.testing.assert_array_equal(np.unique(torch.cat(seen).numpy(), axis=0), np.unique(expected, axis=0))


def test_smoothed_targets_give_torchs_smoothed_loss(project: Path) -> None:
    toy.write(project, augment="none", **{"train.label_smoothing": 0.1})
    run = _run()
    recorded = _recorded(run)
    run._epoch()
    seen = torch.cat(recorded.seen)
    logits = torch.randn(len(seen), 2, generator=torch.manual_seed(0))
    torch.testing.assert_close(
        F.cross_entropy(logits, seen), F.cross_entropy(logits, seen.argmax(1), label_smoothing=0.1)
    )


def test_real_and_mixed_faces_learn_from_smoothed_targets(project: Path) -> None:
    toy.write(project, augment="mixaugment", **{"train.label_smoothing": 0.1})
    run = _run()
    seen = _recorded(run).seen
    run._epoch()
    mixed, real = torch.cat(seen[::2]), torch.cat(seen[1::2])
    assert set(real.flatten().tolist()) == {np.float32(0.95), np.float32(0.05)}
    assert 0.05 <= mixed.min() + 1e-6 <= mixed.max() <= 0.95 + 1e-6


def test_the_real_faces_of_mixaugment_move_the_centers_once_in_a_step(project: Path) -> None:
    toy.write(project, augment="mixaugment")
    run = _run()
    recorded = _recorded(run)
    run._epoch()
    assert len(recorded.moved) == 7
    assert len(recorded.seen) == 14
    for (features, targets), last in zip(recorded.moved, recorded.seen[1::2], strict=True):
        assert torch.equal(targets, last)
        assert set(targets.flatten().tolist()) == {0.0, 1.0}
        assert features.shape == (len(targets), run.network.head.in_features)
    assert torch.equal(recorded.moved[-1][0], recorded.features)


@given(st.lists(st.integers(0, 7), min_size=2, max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_sampling_draws_classes_equally_often(labels: list[int], seed: int, epoch: int) -> None:
    numbers = Counter(labels)
    for sampling, size in (("over", max(numbers.values())), ("under", min(numbers.values()))):
        count, order = plan.sampler(np.array(labels), sampling)
        drawn = order(np.random.default_rng((seed, epoch))).tolist()
        assert drawn == order(np.random.default_rng((seed, epoch))).tolist()
        assert len(drawn) == count == size * len(numbers)
        assert Counter(labels[i] for i in drawn) == dict.fromkeys(numbers, size)
        times = Counter(drawn)
        for label, number in numbers.items():
            own = [times[i] for i, found in enumerate(labels) if found == label]
            assert len(own) == number
            assert max(own) - min(own) <= 1, "samples of a class come equally often"


def test_each_epoch_draws_another_part() -> None:
    labels = np.array([0] * 100 + [1] * 10)
    _, order = plan.sampler(labels, "under")
    first, second = (set(order(np.random.default_rng((1, epoch))).tolist()) for epoch in (0, 1))
    assert first != second
    assert set(range(100, 110)) <= first & second


def test_natural_sampling_leaves_plans_as_they_are() -> None:
    count, order = plan.sampler(np.array([0] * 90 + [1] * 10), "natural")
    assert count == 100

    def draws(rng: np.random.Generator, n: int, size: int) -> dict[str, np.ndarray]:
        return mixcut.draw(toy.settings("augment", "mixcut"), rng, n, size)

    ours = plan.epoch_plan(1, 3, count, 16, margin=4, crop=44, mirror=True, draw=draws, order=order)
    for a, b in zip(ours, planned(1, 3, 100, 16, mixcut), strict=True):
        for name in ("samples", "top", "left", "mirrored", "partner"):
            assert torch.equal(getattr(a, name), getattr(b, name))
        assert all(torch.equal(a.draws[name], b.draws[name]) for name in a.draws)


@pytest.mark.parametrize(("sampling", "faces"), [("over", 72), ("under", 36)])
def test_a_run_sees_what_sampling_draws(project: Path, sampling: str, faces: int) -> None:
    # 54 training faces, of which 36 are made the first class and 18 the second.
    toy.write(project, augment="none", **{"train.sampling": sampling})
    p = params.load()
    train = toy.labelled(p).split("train")
    train.labels = (torch.arange(54) % 3 == 0).long()
    train.targets = F.one_hot(train.labels).float()
    run = toy.training_run(p, train=train)
    seen = _recorded(run).seen
    run._epoch()
    assert torch.cat(seen).sum(0).tolist() == [faces / 2, faces / 2]
    assert len(seen) == plan.steps_per_epoch(faces, 8)
    mean = sum(value * len(t) for value, t in zip(run.learner.loss.values, seen, strict=True)) / faces
    assert run.state.history[0]["train/loss"] == pytest.approx(mean, rel=1e-5)


def _one_epoch(project: Path, **changes: object) -> TrainingRun:
    toy.write(project, **{"train.epochs": 1, **changes})
    return toy.training_run(params.load())


def test_the_moving_average_is_a_loop_over_the_steps(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    update = Average.update
    start = Average.__init__

    def watched_start(self: Average, network: torch.nn.Module, decay: float) -> None:
        start(self, network, decay)
        seen.append({name: tensor.double().clone() for name, tensor in network.state_dict().items()})

    def watched(self: Average) -> None:
        update(self)
        seen.append({name: tensor.double().clone() for name, tensor in self.network.state_dict().items()})

    monkeypatch.setattr(Average, "__init__", watched_start)
    monkeypatch.setattr(Average, "update", watched)
    run = _one_epoch(project, **{"train.ema": 0.7})
    run.fit(lambda index, figures: None)
    assert len(seen) == 1 + 7
    for name, tensor in run.network.state_dict().items():  # no valid split: the last average is what is saved
        expected = seen[0][name]
        for step in seen[1:]:
            expected = 0.7 * expected + 0.3 * step[name] if tensor.is_floating_point() else step[name]
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(run.network.head.weight.double(), seen[-1]["head.weight"])


def test_the_moving_average_is_validated_and_kept(project: Path) -> None:
    toy.write(project, **{"train.epochs": 2, "train.ema": 0.8})
    p = params.load()
    valid = toy.labelled(p).split("valid")
    run = toy.training_run(p, valid)
    seen: list[dict[str, torch.Tensor]] = []
    run.fit(
        lambda index, figures: seen.append({k: v.clone() for k, v in run.learner.average.weights.items()})
    )
    best = run.state.best
    for name, tensor in run.network.state_dict().items():
        assert torch.equal(tensor, seen[best][name]), name
    assert run._scores(valid).items() <= run.state.history[best].items()


def test_the_moving_average_is_what_valid_sees_and_training_goes_on_without_it() -> None:
    network = torch.nn.Linear(2, 2)
    average = Average(network, 0.5)
    first = average.weights["weight"].clone()
    with torch.no_grad():
        network.weight.add_(1)
    average.update()
    with average.applied():
        torch.testing.assert_close(network.weight.detach(), first + 0.5)
    torch.testing.assert_close(network.weight.detach(), first + 1)


def test_a_gradient_longer_than_the_limit_is_scaled_down_to_it(project: Path) -> None:
    plain = {"optimizer": "sgd", "optimizers.sgd.momentum": 0.0, "optimizers.sgd.nesterov": False}
    plain |= {"optimizers.sgd.weight_decay": 0.0, "optimizers.sgd.learning_rate": 1.0, "train.warmup": 0.0}
    plain |= {
        "train.schedule": "constant",
        "train.batch_size": 90,
    }  # one step: the change is minus the gradient

    def change(limit: float) -> torch.Tensor:
        run = _one_epoch(project, **plain, **{"train.clip": limit})
        before = torch.cat([v.detach().flatten().double() for v in run.network.parameters()])
        run.fit(lambda index, figures: None)
        return torch.cat([v.detach().flatten().double() for v in run.network.parameters()]) - before

    free = change(0.0)
    assert free.norm() > 0.2
    torch.testing.assert_close(change(0.1), free * (0.1 / free.norm()), rtol=1e-3, atol=1e-6)
    assert torch.equal(change(1e6), free), "a shorter one stays as it is"


@pytest.mark.parametrize("loss", ["softmax", "weighted_softmax"])
def test_sharpness_aware_steps_are_the_papers_in_float64(
    project: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    radius, rate = 0.05, 0.3
    plain = {"optimizer": "sgd", "optimizers.sgd.momentum": 0.0, "optimizers.sgd.nesterov": False}
    plain |= {"optimizers.sgd.weight_decay": 0.0, "optimizers.sgd.learning_rate": rate, "train.warmup": 0.0}
    plain |= {"train.schedule": "constant", "train.batch_size": 90, "loss": loss, "train.sam": radius}
    run = _one_epoch(project, **plain)
    for place, module in enumerate(run.network.body):  # no kinks, beside which float32 and float64 differ
        if isinstance(module, torch.nn.ReLU):
            run.network.body[place] = torch.nn.GELU()
    exact = copy.deepcopy(run.network).double().train()
    criterion = copy.deepcopy(run.learner.loss).double()
    seen = []
    views = run.learner.views
    monkeypatch.setattr(run.learner, "views", lambda *given: seen.append(views(*given)) or seen[-1])
    run.fit(lambda index, figures: None)
    ((images, targets, _),) = seen[0]

    def gradients() -> list[torch.Tensor]:
        logits, features = exact(images.double())
        value = criterion(logits, features, targets.double(), None)
        return list(torch.autograd.grad(value, list(exact.parameters())))

    # Foret et al. 2021, equations 2 and 3: the weights move along the gradient by the radius, and back.
    ascent = gradients()
    statistics = {name: value.clone() for name, value in exact.named_buffers()}
    length = math.sqrt(sum(float(part.square().sum()) for part in ascent))
    with torch.no_grad():
        for weight, part in zip(exact.parameters(), ascent, strict=True):
            weight.add_(part * radius / length)
    there = gradients()
    with torch.no_grad():
        for weight, part, step in zip(exact.parameters(), ascent, there, strict=True):
            weight.sub_(part * radius / length + rate * step)
    for ours, theirs in zip(run.network.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours.double(), theirs.detach(), rtol=1e-4, atol=1e-6)
    for name, ours in run.network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(ours.double(), statistics[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("loss", ["weighted_softmax", "weighted_cluster"])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole_batch(project: Path, loss: str) -> None:
    def trained(parts: int) -> tuple[torch.Tensor, dict[str, float]]:
        run = _one_epoch(project, **settings, **{"train.accumulate": parts})
        for module in run.network.modules():  # each part would have a mean and a variance of its own
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
                module.training = False
        run.fit(lambda index, figures: None)
        return torch.cat([v.detach().flatten() for v in run.network.parameters()]), run.state.history[0]

    settings = {
        "loss": loss,
        "augment": "mixaugment",
        "train.batch_size": 18,
        "optimizer": "sgd",
        "model": "light",
    }
    (whole, figures), (parts, same) = trained(1), trained(4)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    assert same == pytest.approx(figures, rel=1e-4)


def test_short_epochs_are_checkpointed_as_well(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.stages import train

    toy.write(project, **{"train.epochs": 3, "train.checkpoint_seconds": 10})
    # Each look at the clock is a second later: an epoch of 7 steps is shorter than the 10 between checkpoints.
    clock = iter(range(1000))
    monkeypatch.setattr(engine.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(engine, "bar", lambda total, **_: tqdm(total=total, disable=True))
    saved = []
    monkeypatch.setattr(TrainingRun, "save", lambda run: saved.append((run.state.epoch, run.state.step)))
    train.run(params.load())
    assert len(saved) >= 1


def test_a_checkpoint_of_other_settings_is_not_resumed(project: Path) -> None:
    from pipeline.stages.train import checkpoint_path

    toy.write(project)
    before = checkpoint_path(params.load())
    toy.set_params(project, seed=2)
    assert checkpoint_path(params.load()) != before
    others = {"evaluate.mistakes": 9, "train.checkpoint_seconds": 3, "workers": 1, "gans.processes": 1}
    toy.set_params(project, seed=1, **others, **{"augments.cutmix.alpha": 0.5})  # augment is mixcut
    assert checkpoint_path(params.load()) == before
    toy.set_params(project, **{"augments.mixcut.alpha": 0.5})
    assert checkpoint_path(params.load()) != before


def test_curves_and_metrics_have_the_figures_of_train_and_valid(project: Path) -> None:
    from pipeline.stages import train

    toy.write(project, **{"train.epochs": 4, "train.best": "macro_f1"})
    train.run(params.load())
    found = json.loads((paths.METRICS / "train.json").read_text())
    names = {"train": ["loss", "accuracy"], "valid": ["accuracy", "macro_recall", "macro_f1", "loss"]}
    curves = {}
    for split in names:
        assert list(found[split]) == names[split]
        for name, value in found[split].items():
            lines = (paths.PLOTS / f"train/plots/metrics/{split}/{name}.tsv").read_text().split()[2:]
            curves[f"{split}/{name}"] = [float(line) for line in lines[1::2]]
            assert value == pytest.approx(curves[f"{split}/{name}"][found["best_epoch"] - 1])
    assert found["epochs"] == len(curves["valid/macro_f1"]) == 4
    assert found["valid"]["macro_f1"] == max(curves["valid/macro_f1"])
    assert all(0 <= value <= 1 for name, values in curves.items() if "loss" not in name for value in values)


def test_scores_on_valid_are_the_evaluations_and_the_loss_is_plain(project: Path) -> None:
    # With class weights, smoothed targets and a class without faces; the loss is the labels' cross-entropy.
    classes = {"classes": [*toy.CLASSES, "fear"], "loss": "weighted_cluster", "train.label_smoothing": 0.2}
    toy.write(project, **classes, **{"train.epochs": 1})
    p = params.load()
    train, valid = (toy.labelled(p).split(split) for split in ("train", "valid"))
    for samples in (train, valid):
        samples.targets = F.one_hot(samples.labels, 3).float()
    valid.labels = torch.arange(len(valid)) % 5 // 3
    run = toy.training_run(p, valid, train)
    run.fit(lambda index, figures: None)
    found = run.state.history[0]
    shares = probabilities(run.network, valid.batches(7), toy.SIZE, VIEWS["centre"][0])
    expected = metrics.headline(valid.labels.numpy(), shares.argmax(1), p.classes)
    for name in ("accuracy", "macro_recall", "macro_f1"):
        assert found[f"valid/{name}"] == pytest.approx(expected[name])
    right = shares[np.arange(len(valid)), valid.labels].astype(np.float64)
    assert found["valid/loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)


# Figures of six epochs. The last epoch has a loss that is not a number, and so a poor rank in a tie.
EPOCHS = [
    {"valid/accuracy": 0.5, "valid/macro_recall": 0.5, "valid/macro_f1": 0.9, "valid/loss": 1.14},
    {"valid/accuracy": 1.0, "valid/macro_recall": 0.5, "valid/macro_f1": 0.3, "valid/loss": 0.10},
    {"valid/accuracy": 1.0, "valid/macro_recall": 0.7, "valid/macro_f1": 0.3, "valid/loss": 0.02},
    {"valid/accuracy": 1.0, "valid/macro_recall": 0.7, "valid/macro_f1": 0.3, "valid/loss": 0.02},
    {"valid/accuracy": 0.2, "valid/macro_recall": 0.7, "valid/macro_f1": 0.9, "valid/loss": 0.01},
    {"valid/accuracy": 1.0, "valid/macro_recall": 0.7, "valid/macro_f1": 0.9, "valid/loss": math.nan},
]


def _scored(
    monkeypatch: pytest.MonkeyPatch, figures: list[dict[str, float]], **changes: object
) -> TrainingRun:
    """Return a finished run without steps, whose epochs have these figures and their index as a bias."""

    def scores(run: TrainingRun, samples: data.Samples) -> dict[str, float]:
        torch.nn.init.constant_(run.network.head.bias, run.state.epoch)
        return figures[run.state.epoch]

    monkeypatch.setattr(TrainingRun, "_scores", scores)
    monkeypatch.setattr(TrainingRun, "_step", lambda *given: torch.zeros(2))
    toy.write(Path(), **{"train.epochs": len(figures), "train.batch_size": 60, **changes})
    p = params.load()
    run = toy.training_run(p, toy.labelled(p).split("valid"))
    run.fit(lambda index, figures: None)
    return run


@pytest.mark.parametrize(
    ("best", "epoch"), [("accuracy", 2), ("macro_recall", 4), ("macro_f1", 4), ("loss", 4), ("last", 5)]
)
def test_best_chooses_by_its_score_then_by_the_lowest_loss_then_the_first(
    project: Path, monkeypatch: pytest.MonkeyPatch, best: str, epoch: int
) -> None:
    run = _scored(monkeypatch, EPOCHS, **{"train.best": best})
    assert run.state.best == (-1 if best == "last" else epoch)
    assert run.network.head.bias.tolist() == [epoch] * 2


@pytest.mark.parametrize(("best", "epochs", "chosen"), [("accuracy", 4, 1), ("loss", 6, 3)])
def test_patience_counts_epochs_without_a_better_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, best: str, epochs: int, chosen: int
) -> None:
    figures = [(0.5, 0.9), (0.75, 0.8), (0.75, 0.8), (0.6, 0.7), (1.0, 0.7), (0.5, 0.7), (1.0, 0.1)]
    names = ("valid/accuracy", "valid/loss")
    scores = [dict(zip(names, pair, strict=True)) for pair in figures]
    run = _scored(monkeypatch, scores, **{"train.patience": 2, "train.best": best})
    assert (len(run.state.history), run.state.best) == (epochs, chosen)


@pytest.mark.parametrize("augment", ["none", "mixup", "mixaugment"])
def test_accuracy_on_train_is_the_share_of_the_predicted_class(project: Path, augment: str) -> None:
    toy.write(project, augment=augment, **{"train.label_smoothing": 0.0, "train.batch_size": 60})
    run = _run()  # a step in an epoch
    recorded = _recorded(run)
    run._epoch()
    assert run.state.history[0]["train/accuracy"] == pytest.approx(recorded.right / 54)


def test_the_loss_on_train_is_a_number_per_face_under_every_reduction(project: Path) -> None:
    # Before the first step all reductions see the same loss; the classes have the same number of faces.
    losses = []
    for reduction in ("mean", "weighted_mean", "sum"):
        changes = {"loss": "weighted_softmax", "losses.weighted_softmax.reduction": reduction}
        run = _one_epoch(project, augment="none", **changes, **{"train.batch_size": 60})
        run._epoch()
        losses.append(run.state.history[0]["train/loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_a_run_that_diverges_says_what_to_change(project: Path) -> None:
    from pipeline.stages import train

    toy.write(project, **{"optimizers.sgd.learning_rate": 1e9, "train.warmup": 0.0})
    with pytest.raises(UserError, match=r"diverged in epoch 1.*optimizers\.sgd\.learning_rate"):
        train.run(params.load())
    assert not paths.CLASSIFIER.exists()


@pytest.mark.parametrize(
    ("name", "crop"), [("resnet18", 44), ("resnet18_booster", 32), ("se_resnet50", 32), ("vgg19_fer", 44)]
)
def test_a_model_file_gives_back_the_same_network(project: Path, name: str, crop: int) -> None:
    # The weights that it started from need not be there any more.
    toy.set_params(project, model=name, **{"train.crop": crop, f"models.{name}.weights": "gone.safetensors"})
    p = params.load()
    torch.manual_seed(0)
    network = toy.network(p).eval()
    toy.save_model(p, network)
    loaded = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
    assert (loaded.classes, loaded.size, loaded.channels, loaded.crop) == (p.classes, 48, 1, crop)
    images = torch.rand(3, 1, crop, crop)
    assert torch.equal(network(images)[0], loaded.network(images)[0])


def test_vgg19_has_the_papers_shape(project: Path) -> None:
    # 16 convolutions with batch norm, one fully connected layer of 512 x 8, from 44 x 44 pixels.
    toy.set_params(project, model="vgg19_fer")
    network = toy.network(params.load())
    layers = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear)
    assert [sum(isinstance(m, kind) for m in network.modules()) for kind in layers] == [16, 16, 1]
    assert network.head.weight.shape == (8, 512)


@given(st.data())
def test_a_flipped_bit_of_a_checkpoint_is_noticed_and_said(flip: st.DataObject) -> None:
    tensors = {
        "a": torch.arange(3.0),
        "b.c": torch.tensor(7),
        "d": torch.ones(2, 2, dtype=torch.bfloat16),
        "e": torch.empty(0),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.safetensors")
        checkpoint.store(path, tensors, {"epoch": 1})
        content = bytearray(path.read_bytes())
        restored, about = checkpoint.restore(path)
        assert about == {"epoch": 1}
        assert all(torch.equal(restored[name], tensor) for name, tensor in tensors.items())
        content[flip.draw(st.integers(0, len(content) - 1))] ^= 1 << flip.draw(st.integers(0, 7))
        path.write_bytes(content)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert checkpoint.restore(path) is None
        assert said.getvalue() == f"{path}: damaged, so its training starts again\n"


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_damaged_model_file_is_one_line(project: Path, content: bytes | None) -> None:
    path = Path("m.safetensors")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.safetensors"):
        model_file.load(path, torch.device("cpu"))


def test_mirrored_and_cropped_faces_of_several_tables_keep_their_targets(project: Path) -> None:
    toy.write(project)
    samples = toy.labelled(params.load()).split("train")
    faces = samples.take(torch.arange(len(samples))).float().mean((1, 2, 3))
    bright = samples.labels == 1
    assert faces[bright].mean() - faces[~bright].mean() > 20
    assert torch.equal(samples.targets.argmax(1), samples.labels)


def test_vgg19_learns_in_bfloat16_what_it_learns_in_float32(project: Path) -> None:
    # The second loss is lower by the first step alone: no warm-up, no dropout, and a rate that does not overshoot.
    plain = {"train.batch_size": 2, "train.schedule": "constant", "train.warmup": 0.0}
    plain |= {"models.vgg19_fer.dropout": 0.0, "optimizers.sgd.learning_rate": 0.01}
    toy.set_params(project, model="vgg19_fer", augment="none", gan="none", **plain)
    p = params.load()
    rng = np.random.default_rng(0)
    faces = toy.Faces(rng.integers(0, 256, (2, 48, 48, 1), np.uint8))
    labels = torch.from_numpy(rng.integers(0, len(p.classes), 2))
    targets = torch.nn.functional.one_hot(labels, len(p.classes)).float()
    rows = np.arange(2)
    losses = []
    for precision in (torch.float32, torch.bfloat16):
        samples = data.Samples(pa.array(map(str, rows)), [faces], rows * 0, rows, targets, labels)
        run = toy.training_run(p, train=samples, precision=precision)
        run.network.train()
        losses.append([float(run._step(run.plan(0)[0], 2)[0]) for _ in range(2)])
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.02)
    assert all(second < first for first, second in losses)
