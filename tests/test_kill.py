"""A run that is killed again and again, with SIGKILL and at chosen points, ends as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import params
from pipeline.stages import train
from pipeline.tables import paths
from pipeline.training import checkpoint, engine
from tests import forked, toy

TRAIN = [sys.executable, "-m", "pipeline", "train"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# 54 samples in batches of 18 are 3 steps an epoch; a checkpoint is written after every one.
def in_the_middle_of_an_epoch() -> None:
    step = engine.TrainingRun._step

    def killed(run: engine.TrainingRun, *batch: Any) -> Any:
        if (run.state.epoch, run.state.step) == (1, 1):
            die()
        return step(run, *batch)

    engine.TrainingRun._step = killed
    train.run(params.load())


def between_two_epochs() -> None:
    epoch = engine.TrainingRun._epoch

    def killed(run: engine.TrainingRun) -> None:
        epoch(run)
        if run.state.epoch == 2:
            die()

    engine.TrainingRun._epoch = killed
    train.run(params.load())


def while_a_checkpoint_is_written() -> None:
    written: list[int] = []

    def killed(file: int) -> None:
        written.append(file)
        if len(written) == 2:
            os.ftruncate(file, 1000)
            die()

    checkpoint.os = SimpleNamespace(fsync=killed)
    train.run(params.load())


POINTS = [in_the_middle_of_an_epoch, between_two_epochs, while_a_checkpoint_is_written]
SETTINGS = {
    "sgd": {
        "optimizer": "sgd",
        "loss": "center",
        "augment": "mixcut",
        "models.light.dropout": 0.5,
        "train.ema": 0.9,
        "train.rotation": 15,
        "train.brightness": 0.25,
    },
    "ranger_gc": {
        "optimizer": "ranger_gc",
        "loss": "weighted_cluster",
        "augment": "mixaugment",
        "augments.mixaugment.per": "batch",
        "train.best": "loss",
        "train.clip": 1.0,
        "train.sam": 0.05,
        "train.accumulate": 2,
        "train.erasing": 0.5,
        "train.trivial_augment": True,
        "train.resized_crop": [0.5, 1.0],
        "train.albumentations": [{"__class_fullname__": "RandomGamma", "p": 0.5}],
    },
}


def results() -> dict[str, bytes]:
    files = [paths.CLASSIFIER, paths.METRICS / "train.json", *sorted((paths.PLOTS / "train").rglob("*.tsv"))]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_killed_run_ends_with_the_same_bytes(
    project: Path, settings: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    toy.write(project, model="light", **SETTINGS[settings], **{"train.epochs": 3, "train.batch_size": 18})
    assert forked.run(forked.fer, "train").returncode == 0
    unbroken = results()
    assert len(unbroken) == 2 + 7
    assert not list(paths.reusable("checkpoints").glob("*")), "a finished run leaves no checkpoint"
    # Neither how often it is saved nor how many processes prepare faces makes a difference.
    toy.set_params(project, **{"train.checkpoint_seconds": 0, "train.workers": 1})
    points = POINTS if settings == "sgd" else [between_two_epochs]
    for point in points:
        killed = forked.run(point)
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        assert len(list(paths.reusable("checkpoints").glob("[!.]*.safetensors"))) == 1, point
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment["TMPDIR"] = str(temporary := tmp_path_factory.mktemp("temporary"))
    resumed = subprocess.run(TRAIN, env=environment, check=True, capture_output=True, text=True)
    place = "epoch 3, step 1" if len(points) == 3 else "epoch 2, step 3"
    assert f"resuming an interrupted run at {place}" in resumed.stdout
    assert results() == unbroken
    assert not list(temporary.iterdir())
