"""From training faces to one generator per class, with any GAN."""

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
from pipeline.synthesis import finished
from pipeline.synthesis.task import GanTask
from pipeline.synthesis.workers import TaskResult, train_tasks

# With fewer faces of a class a GAN can only repeat them.
LEAST_FACES = 8

# Rooms whose code decides the result of a GAN's training.
CODE = ("core", "tables", "params", "methods/gans", "synthesis", "training")


@dataclass(frozen=True)
class FittedGenerators:
    """Trained generators and the results of their training.

    Attributes:
        generators: generator of each class.
        untrained: the same generators before training, for comparison.
        results: results by name of the task: a class, or `all` for a conditional GAN.
        reused: names of the tasks that an earlier run trained.
    """

    generators: dict[str, Generator] = field(default_factory=dict)
    untrained: dict[str, Generator] = field(default_factory=dict)
    results: dict[str, TaskResult] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GanSetup:
    """Everything that decides a GAN's training, except its faces.

    Attributes:
        name: name of the GAN's module.
        settings: block `gans.<name>`.
        seed: seed of the run.
        device: device of the training.
        precision: precision of forward passes.
        processes: number of classes that train at the same time; 0: chosen by the device.
        folder: folder of the checkpoints.
        checkpoint_seconds: time between two checkpoints.
    """

    name: str
    settings: Any
    seed: int
    device: torch.device
    precision: torch.dtype
    processes: int
    folder: Path
    checkpoint_seconds: float


def fit_generators(
    setup: GanSetup,
    gather: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    targets: Sequence[str],
) -> FittedGenerators:
    """Train one GAN per class in `targets`, or a single conditional GAN on all classes.

    A GAN that an earlier run trained with the same setup, faces and code is reused.

    Args:
        setup: the GAN and its training.
        gather: returns the training faces at some indices, int64 [n], as uint8 [n, H, W, C].
        labels: class of each training face, int64 [N], as an index into `classes`.
        classes: names of all classes.
        targets: names of the classes that need a generator.

    Raises:
        UserError: a class has too few faces, a training failed, or a checkpoint cannot be written.
    """
    module = import_module(f"pipeline.methods.gans.{setup.name}")
    trains = hasattr(module, "build")
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
        return FittedGenerators(
            module.generators(gather(rows), np.array(classes)[labels[rows]], list(targets))
        )
    if not targets:
        return FittedGenerators()

    def new_task(name: str, rows: np.ndarray, conditional: bool) -> GanTask:
        own_classes = len(classes) if conditional else 1
        arguments = (setup.name, setup.settings.model_dump(), setup.seed, name, own_classes)
        words = json.dumps([*arguments, setup.device.type, str(setup.precision), torch.__version__])
        faces = gather(rows)
        data = sha256(faces.tobytes() + labels[rows].tobytes()).hexdigest()
        path = setup.folder / f"gan-{name}-{fingerprint((words, data), sources(*CODE))}.safetensors"
        own_labels = labels[rows] if conditional else np.zeros(len(rows), np.int64)
        return GanTask(
            name, faces, own_labels, own_classes, module.build, setup.settings, setup.seed, setup.precision, path,
            setup.checkpoint_seconds,
        )  # fmt: skip

    if module.CONDITIONAL:
        tasks = [new_task("all", np.arange(len(labels)), True)]
    else:
        tasks = [new_task(name, np.flatnonzero(labels == classes.index(name)), False) for name in targets]
    results = {task.name: result for task in tasks if (result := finished.restore(task))}
    left = [task for task in tasks if task.name not in results]
    fitted = FittedGenerators(reused=list(results))
    # Each task gets the same share of the cores, however many are left.
    processes = min(len(tasks), setup.processes or worthwhile_processes(setup.device))
    trained = train_tasks(left, setup.device, processes, setup.name) if left else []
    for task, result in zip(left, trained, strict=True):
        finished.store(task, result)
        results[task.name] = result
    for done in tasks:
        done.path.unlink(missing_ok=True)
        result = fitted.results[done.name] = results[done.name]
        places = {name: classes.index(name) for name in targets} if module.CONDITIONAL else {done.name: 0}
        for kept, weights in ((fitted.generators, result.weights), (fitted.untrained, None)):
            generators = generators_of(done, weights, setup.device)
            kept.update({name: generators[place] for name, place in places.items()})
    return fitted


def generators_of(
    task: GanTask, weights: dict[str, np.ndarray] | None, device: torch.device
) -> dict[int, Generator]:
    """Return the generator of each class that has faces in the task, by class index.

    Args:
        task: the trained task.
        weights: weights of the generator; None: those before training.
        device: device of the generators.
    """
    network = task.new_networks().generator
    if weights:
        network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    network.to(device).eval()
    counts = np.bincount(task.labels, minlength=task.classes)
    latent = task.settings.latent
    return {int(i): Generator(network, latent, int(i), int(counts[i])) for i in np.flatnonzero(counts)}


def worthwhile_processes(device: torch.device) -> int:
    """Return how many classes to train at the same time: 16 on a GPU, otherwise one per thread."""
    return 16 if device.type == "cuda" else torch.get_num_threads()
