"""A run that is killed, with SIGKILL and at a chosen point, ends as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import paths
from tests import toy

TRAIN = [sys.executable, "-m", "pipeline", "train"]
# 54 samples in batches of 8 are 7 steps an epoch; a checkpoint is written after every one.
POINTS = {
    "in the middle of an epoch": """
step = engine.Run._step
def killed(run, *batch):
    if (run.progress.epoch, run.progress.step) == (1, 3):
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
    if count == 11:
        os.ftruncate(file, 1000)
        die()
checkpoint.os = type("os", (), {"fsync": staticmethod(killed)})
""",
}
PROGRAM = """
import os, signal
from pipeline import params
from pipeline.stages import train
from pipeline.training import checkpoint, engine
def die():
    os.kill(os.getpid(), signal.SIGKILL)
{point}
train.run(params.load())
"""
SETTINGS = {
    "sgd": {"optimizer": "sgd", "models.resnet18.dropout": 0.5},
    "adam": {"optimizer": "adam", "augment": "mixaugment"},
}


def results() -> dict[str, bytes]:
    files = [paths.CLASSIFIER, paths.METRICS / "train.json", *sorted((paths.PLOTS / "train").rglob("*.tsv"))]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_killed_run_ends_with_the_same_bytes(project: Path, settings: str) -> None:
    toy.write(project, **SETTINGS[settings], **{"train.epochs": 3, "train.checkpoint_seconds": 0})
    subprocess.run(TRAIN, check=True, capture_output=True)
    unbroken = results()
    assert len(unbroken) == 4
    for name, point in POINTS.items():
        killed = subprocess.run([sys.executable, "-c", PROGRAM.format(point=point)], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, (name, killed.stderr)
        assert len(list((paths.MODELS / "checkpoints").glob("[!.]*.safetensors"))) == 1, name
        resumed = subprocess.run(TRAIN, check=True, capture_output=True, text=True)
        assert "resuming an interrupted run at epoch" in resumed.stdout, name
        assert results() == unbroken, name
