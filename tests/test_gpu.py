"""What a GPU must not change: replayed steps, trainings side by side and resumed ones end in the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import params
from pipeline.methods.models import Classifier
from pipeline.synthesis.task import GanTask
from pipeline.synthesis.trainer import GanTrainer
from pipeline.synthesis.workers import TaskResult, train_tasks
from pipeline.training.engine import TrainingRun
from tests import toy
from tests.test_gan import METHODS, assert_same, task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def many(folder: Path, method: str) -> list[GanTask]:
    """Return four tasks in bfloat16 that are long enough to be replayed."""
    of = replace(task(folder, method, epochs=20), precision=torch.bfloat16)
    return [replace(of, name=f"class {i}", path=folder / f"{i}.safetensors") for i in range(4)]


def one_by_one(of: GanTask) -> TaskResult:
    return train_tasks([of], GPU, 1, "one by one")[0]


def classifier() -> TrainingRun:
    return toy.training_run(params.load(), device="cuda:0", precision=torch.bfloat16)


@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_step_is_the_step(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = many(tmp_path, method)
    replayed = one_by_one(first)
    init = GanTrainer.__init__

    def plain(self: GanTrainer, of: GanTask, device: torch.device) -> None:
        init(self, of, device)
        self.replays.on = False

    monkeypatch.setattr(GanTrainer, "__init__", plain)
    assert_same(replayed, one_by_one(replace(second, name=first.name)))


@pytest.mark.parametrize("method", METHODS)
def test_classes_side_by_side_learn_what_each_would_alone(tmp_path: Path, method: str) -> None:
    tasks = many(tmp_path, method)
    together = train_tasks(tasks, GPU, 4, "side by side")
    for of, side_by_side in zip(tasks, together, strict=True):
        assert_same(side_by_side, one_by_one(replace(of, path=of.path.with_suffix(".alone"))))


@pytest.mark.parametrize("method", METHODS)
def test_a_training_goes_on_where_it_stopped(tmp_path: Path, method: str) -> None:
    first, second, *_ = many(tmp_path, method)
    whole = one_by_one(first)
    half = GanTrainer(replace(second, name=first.name), GPU)
    for _ in range(7):
        half._epoch(lambda: None)
    half.save()
    assert_same(whole, one_by_one(replace(second, name=first.name)))


@pytest.mark.parametrize(
    "model", ["light", "resnet18", "vgg19_fer", "vgg16", "densenet121", "efficientnet_b0"]
)
@pytest.mark.parametrize("augment", ["none", "mixaugment", "fmix"])
def test_a_classifiers_replayed_step_is_the_step(project: Path, model: str, augment: str) -> None:
    toy.write(project, model=model, augment=augment)
    assert_replayed()


@pytest.mark.parametrize("changed", [{"optimizer": "adam"}, {"optimizer": "ranger"}, {"loss": "center"}])
def test_all_of_a_step_is_replayed(project: Path, changed: dict[str, str]) -> None:
    toy.write(
        project, model="light", **changed, **{"train.ema": 0.9, "train.clip": 1.0, "train.rotation": 10}
    )
    assert_replayed()


def test_a_compiled_step_is_the_step_up_to_rounding(project: Path) -> None:
    losses = []
    for compiled in (False, True):
        toy.write(project, model="vgg19_fer", **{"train.compile": compiled, "models.vgg19_fer.dropout": 0.0})
        run = classifier()
        for _ in range(3):
            run._epoch()
        losses.append([figures["train/loss"] for figures in run.state.history])
    np.testing.assert_allclose(*losses, rtol=0.02)


def assert_replayed() -> None:
    replayed, plain = classifier(), classifier()
    plain.learner.replays.on = False
    for run in (replayed, plain):
        for _ in range(3):
            run._epoch()
    assert any(replayed.learner.replays.known.values())
    for name, tensor in plain.network.state_dict().items():
        np.testing.assert_array_equal(replayed.network.state_dict()[name].cpu(), tensor.cpu(), name)


def test_a_network_that_waits_for_a_result_trains_as_it_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.write(project, model="light")
    forward = Classifier.forward

    def waits(self: Classifier, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        float(images.sum())
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", waits)
    run = classifier()
    for _ in range(2):
        run._epoch()
    assert not run.learner.replays.on
    assert np.isfinite(run.state.history[-1]["train/loss"])
