"""A run that is killed again and again, with SIGKILL and at chosen points, ends as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import paths
from tests import toy

TRAIN = [sys.executable, "-m", "pipeline", "train"]
# 54 samples in batches of 18 are 3 steps an epoch; a checkpoint is written after every one.
POINTS = {
    "in the middle of an epoch": """
step = engine.Run._step
def killed(run, *batch):
    if (run.progress.epoch, run.progress.step) == (1, 1):
        die()
    return step(run, *batch)
engine.Run._step = killed
""",
    "between two epochs": """
epoch = engine.Run._epoch
def killed(run):
    epoch(run)
    if run.progress.epoch == 2:
        die()
engine.Run._epoch = killed
""",
    "while a checkpoint is written": """
count = 0
def killed(file):
    global count
    count += 1
    if count == 2:
        os.ftruncate(file, 1000)
        die()
checkpoint.os = type("os", (), {"fsync": staticmethod(killed)})
""",
}
PROGRAM = """
import os, signal
from pipeline import params
from pipeline.stages import train
from pipeline import checkpoint
from pipeline.training import engine
def die():
    os.kill(os.getpid(), signal.SIGKILL)
{point}
train.run(params.load())
"""
SETTINGS = {
    "sgd": {
        "optimizer": "sgd",
        "loss": "center",
        "augment": "mixcut",
        "models.resnet18.dropout": 0.5,
        "train.ema": 0.9,
        "train.rotation": 15,
        "train.brightness": 0.25,
    },
    "ranger_gc": {
        "optimizer": "ranger_gc",
        "loss": "weighted_cluster",
        "augment": "mixaugment",
        "train.clip": 1.0,
        "train.resized_crop": [0.5, 1.0],
        "train.albumentations": [{"__class_fullname__": "RandomGamma", "p": 0.5}],
    },
}


def results() -> dict[str, bytes]:
    files = [paths.CLASSIFIER, paths.METRICS / "train.json", *sorted((paths.PLOTS / "train").rglob("*.tsv"))]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_killed_run_ends_with_the_same_bytes(project: Path, settings: str) -> None:
    toy.write(project, **SETTINGS[settings], **{"train.epochs": 3, "train.batch_size": 18})
    subprocess.run(TRAIN, check=True, capture_output=True)
    unbroken = results()
    assert len(unbroken) == 4
    assert not list((paths.MODELS / "checkpoints").glob("*")), "a finished run leaves no checkpoint"
    # Neither how often it is saved nor how many processes prepare faces makes a difference.
    toy.set_params(project, **{"train.checkpoint_seconds": 0, "train.workers": 1})
    points = list(POINTS) if settings == "sgd" else ["between two epochs"]
    for name in points:
        point = POINTS[name]
        killed = subprocess.run([sys.executable, "-c", PROGRAM.format(point=point)], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, (name, killed.stderr)
        assert len(list((paths.MODELS / "checkpoints").glob("[!.]*.safetensors"))) == 1, name
    resumed = subprocess.run(TRAIN, check=True, capture_output=True, text=True)
    place = "epoch 3, step 1" if len(points) == 3 else "epoch 2, step 3"
    assert f"resuming an interrupted run at {place}" in resumed.stdout
    assert results() == unbroken
