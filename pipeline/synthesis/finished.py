"""Trained GANs in `models/generators`: a run that changes only the number of faces or the filters reuses them.

A file holds the result of a task. It has the name of the task's checkpoint, which names everything that decides the
training: settings, seed, faces and code.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.core.progress import note
from pipeline.synthesis.task import GanProgress, GanTask
from pipeline.synthesis.workers import TaskResult
from pipeline.tables.paths import reusable
from pipeline.training import checkpoint

# The rest are those that no run has used for longest.
KEPT = 64


def store(task: GanTask, result: TaskResult) -> None:
    """Write the result of a task.

    Raises:
        UserError: the file cannot be written.
    """
    weights = {name: torch.from_numpy(values) for name, values in result.weights.items()}
    tensors = checkpoint.prefixed("generator", weights) | {"shown": torch.from_numpy(result.shown)}
    path = path_of(task)
    checkpoint.store(path, tensors, {"file": path.name, "progress": vars(result.progress)})
    checkpoint.keep_newest(path.parent, KEPT)


def restore(task: GanTask) -> TaskResult | None:
    """Return the result of a task; None if its file is absent, or damaged or of another task, which is then said."""
    path = path_of(task)
    stored = checkpoint.restore(path)
    if stored is None:
        return None
    tensors, about = stored
    if about.get("file") != path.name:
        note(f"{path}: of another training, so this one starts again")
        return None
    path.touch()
    weights = {name: tensor.numpy() for name, tensor in checkpoint.under("generator", tensors).items()}
    return TaskResult(weights, GanProgress(**about["progress"]), tensors["shown"].numpy(), resumed=True)


def path_of(task: GanTask) -> Path:
    """Return the file with the result of a task."""
    return reusable("generators") / task.path.name
