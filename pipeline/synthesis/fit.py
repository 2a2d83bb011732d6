"""From the training faces to a generator for each class, by whichever GAN."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.code import sources
from pipeline.core.errors import UserError
from pipeline.core.files import fingerprint
from pipeline.methods.gans import Generator
from pipeline.synthesis.task import Task
from pipeline.synthesis.together import generators, train

# Fewer faces than this a GAN can only repeat.
LEAST_FACES = 8

# Rooms whose code decides how a GAN is trained.
CODE = ("core", "tables", "params", "methods/gans", "synthesis", "training")


@dataclass(frozen=True)
class Fitted:
    """What a GAN's training leaves.

    Attributes:
        generators: by class.
        untrained: the same before training, to compare with.
        curves: figures of each epoch (see `Progress.history`), by class, or `all` for a GAN of all classes.
        epochs, shown: after which epochs faces were kept, and these, uint8 [E, n, H, W, C]; by the same names.
        checkpoints: files that are of no more use once the generators are stored.
    """

    generators: dict[str, Generator] = field(default_factory=dict)
    untrained: dict[str, Generator] = field(default_factory=dict)
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    epochs: dict[str, list[int]] = field(default_factory=dict)
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    checkpoints: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """How a GAN is trained, whatever it learns.

    Attributes:
        name: of its module.
        settings: `gans.<name>`.
        seed: of the run.
        device: where to compute.
        precision: of forward passes.
        processes: classes that train side by side; 0: as many as pay.
        folder: of the checkpoints.
        checkpoint_seconds: between two of them.
    """

    name: str
    settings: Any
    seed: int
    device: torch.device
    precision: torch.dtype
    processes: int
    folder: Path
    checkpoint_seconds: float


def fit(
    setting: Setting,
    gather: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    targets: Sequence[str],
) -> Fitted:
    """Train a GAN for each class in `targets` or, where it is conditional, one for all classes.

    Args:
        setting: which GAN and how.
        gather: returns the faces at some places, int64 [n], of the training split: uint8 [n, H, W, C].
        labels: class of each face there, int64 [N], an index into `classes`.
        classes: names of all classes.
        targets: names of those that need a generator.

    Raises:
        UserError: a class has too few faces, a training failed, or a checkpoint cannot be written.
    """
    module = import_module(f"pipeline.methods.gans.{setting.name}")
    trains = hasattr(module, "adversaries")
    counts = np.bincount(labels, minlength=len(classes))
    least = LEAST_FACES if trains else 1
    for name in targets:
        if (count := int(counts[classes.index(name)])) < least:
            raise UserError(
                f"params.yaml: gans.classes: found {name!r} with {count} faces in split train, allowed: at least "
                f"{least}" + (", as a GAN can only repeat fewer" if trains else "")
            )
    if not trains:
        rows = np.flatnonzero(np.isin(labels, [classes.index(name) for name in targets]))
        return Fitted(module.generators(gather(rows), np.array(classes)[labels[rows]], list(targets)))
    if not targets:
        return Fitted()

    settings = setting.settings

    def task(name: str, chosen: np.ndarray, number: int) -> Task:
        words = json.dumps([setting.name, settings.model_dump(), setting.seed, name, str(setting.precision)])
        words += torch.__version__
        faces = gather(chosen)
        learned = sha256(faces.tobytes() + labels[chosen].tobytes()).hexdigest()
        path = setting.folder / f"gan-{name}-{fingerprint((words, learned), sources(*CODE))}.safetensors"
        own = labels[chosen] if number else np.zeros(len(chosen), np.int64)
        return Task(
            name, faces, own, number or 1, module.adversaries, settings, setting.seed, setting.precision, path,
            setting.checkpoint_seconds,
        )  # fmt: skip

    if module.CONDITIONAL:
        tasks = [task("all", np.arange(len(labels)), len(classes))]
    else:
        tasks = [task(name, np.flatnonzero(labels == classes.index(name)), 0) for name in targets]
    processes = min(len(tasks), setting.processes or worthwhile(setting.device))
    trained = train(tasks, setting.device, processes, setting.name)
    fitted = Fitted(checkpoints=[task.path for task in tasks])
    for task_, result in zip(tasks, trained, strict=True):
        made = generators(task_, result, setting.device)
        fitted.curves[task_.name] = result.progress.history
        fitted.epochs[task_.name] = result.progress.shown
        fitted.shown[task_.name] = result.shown
        fresh = generators(task_, None, setting.device)
        names = {name: classes.index(name) for name in targets} if module.CONDITIONAL else {task_.name: 0}
        fitted.generators.update({name: made[index] for name, index in names.items()})
        fitted.untrained.update({name: fresh[index] for name, index in names.items()})
    return fitted


def worthwhile(device: torch.device) -> int:
    """Return how many classes to train side by side: one thread each, or all of them on a GPU."""
    return 16 if device.type == "cuda" else torch.get_num_threads()
