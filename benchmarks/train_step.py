"""Training steps per second: this engine over a plain PyTorch loop with the same network, batch and optimiser.

The plain loop is what a tutorial shows: float32, default memory layout, faces normalised per batch. Both take their
faces from memory, so neither decodes anything. Each has a process of its own, because the engine changes how its
process allocates memory. They run in turn.

    python benchmarks/train_step.py [steps]     (in a folder with params.yaml and the outputs of `label`)
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
from torch import nn

from pipeline import params
from pipeline.core import allocator
from pipeline.inference import device
from pipeline.inference.samples import LabelledFaces
from pipeline.params.model import Params
from pipeline.stages.train import starting_network, training_parts
from pipeline.tables.paths import SYNTHETIC
from pipeline.training.batch_transform import crop
from pipeline.training.engine import TrainingRun

ROUNDS = 5  # in turn: a machine's speed changes with what its neighbours do


def main(steps: str = "20") -> None:
    context = multiprocessing.get_context("spawn")
    sides = []
    for plain in (True, False):
        here, there = context.Pipe()
        context.Process(target=serve, args=(there, int(steps), plain), daemon=True).start()
        sides.append(here)
    # The first round sets up what later ones use, and does not count.
    rounds = [[ask(side) for side in sides] for _ in range(1 + ROUNDS)][1:]
    for side in sides:
        side.send(False)
    for theirs, own in rounds:
        print(f"plain PyTorch {theirs:7.1f}, engine {own:7.1f} faces/s: {own / theirs:.2f}")
    p = params.load()
    where = device.pick("auto")
    precision = device.pick_precision("auto", where)
    print(f"{p.model}, batch {p.train.batch_size}, {p.augment}, {precision} on {where.type}")
    print(f"ratio: {median(own / theirs for theirs, own in rounds):.2f}")


def ask(side: Connection) -> float:
    side.send(True)
    return side.recv()


def serve(connection: Connection, count: int, plain: bool) -> None:
    """Send the faces per second of `count` steps, each time that True comes."""
    p = params.load()
    where = device.pick("auto")
    if not plain and where.type == "cpu":
        allocator.keep_freed()
    step, sizes = (plain_loop if plain else engine)(p, where)
    while connection.recv():
        start = time.perf_counter()
        for i in range(count):
            step(i)
        if where.type == "cuda":
            torch.cuda.synchronize()
        connection.send(sum(sizes[:count]) / (time.perf_counter() - start))


def started(p: Params, where: torch.device) -> TrainingRun:
    tables = LabelledFaces(p.classes, p.train_datasets, p.align)
    train = tables.with_synthetic(tables.split("train"), SYNTHETIC, p.train.synthetic == "alone")
    parts = training_parts(p, starting_network(p, where)[0], train)
    precision = device.pick_precision("auto", where)
    return TrainingRun(parts, p.train, p.seed, train, None, precision, Path(tempfile.mkdtemp(), "unused"))


def engine(p: Params, where: torch.device) -> tuple[Callable[[int], None], list[int]]:
    run = started(p, where)
    plan = run.plan(0)
    sizes = [len(batch.samples) for batch in plan]
    return lambda i: run._step(plan[i], sizes[i]), sizes


def plain_loop(p: Params, where: torch.device) -> tuple[Callable[[int], None], list[int]]:
    run = started(p, where)
    plan, train = run.plan(0), run.train
    network = starting_network(p, where)[0].to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loss = nn.CrossEntropyLoss()
    faces = train.take(torch.arange(len(train)))

    def step(i: int) -> None:
        batch = plan[i].to(where)
        images = crop(faces[batch.samples], p.train.crop, batch.top, batch.left, batch.mirrored).contiguous()
        optimizer.zero_grad()
        loss(network(images)[0], train.targets[batch.samples]).backward()
        optimizer.step()

    return step, [len(batch.samples) for batch in plan]


if __name__ == "__main__":
    main(*sys.argv[1:])
