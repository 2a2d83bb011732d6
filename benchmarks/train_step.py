"""Training steps per second: this engine over a plain PyTorch loop with the same network, batch and optimiser.

The plain loop is what a tutorial shows: float32, default memory layout, faces normalised per batch. Both take
their faces from memory, so neither decodes anything.

    python benchmarks/train_step.py [steps]     (in a folder with params.yaml and the outputs of `label`)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from pipeline import params
from pipeline.inference import device
from pipeline.inference.samples import LabelledFaces
from pipeline.stages.train import starting_network, training_parts
from pipeline.tables.paths import SYNTHETIC
from pipeline.training.batch_transform import crop
from pipeline.training.engine import TrainingRun

ROUNDS = 5  # in turn: a machine's speed changes with what its neighbours do


def main(steps: str = "20") -> None:
    count = int(steps)
    p = params.load()
    where = device.pick("auto")
    precision = device.pick_precision("auto", where)
    tables = LabelledFaces(p.classes, p.train_datasets, p.align)
    train = tables.with_synthetic(tables.split("train"), SYNTHETIC, p.train.synthetic == "alone")
    parts = training_parts(p, starting_network(p, where)[0], train)
    unused = Path(tempfile.mkdtemp(), "unused")
    ours = TrainingRun(parts, p.train, p.seed, train, None, precision, unused)
    plan = ours.plan(0)

    network = starting_network(p, where)[0].to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loss = nn.CrossEntropyLoss()
    faces = train.take(torch.arange(len(train)))

    def plain(step: int) -> None:
        batch = plan[step].to(where)
        images = crop(faces[batch.samples], p.train.crop, batch.top, batch.left, batch.mirrored).contiguous()
        optimizer.zero_grad()
        loss(network(images)[0], train.targets[batch.samples]).backward()
        optimizer.step()

    def rate(step: Callable[[int], None]) -> float:
        start = time.perf_counter()
        for i in range(count):
            step(i)
        if where.type == "cuda":
            torch.cuda.synchronize()
        return sum(len(plan[i].samples) for i in range(count)) / (time.perf_counter() - start)

    def engine(i: int) -> None:
        ours._step(plan[i], len(plan[i].samples))

    # The first round sets up what later ones use, and does not count.
    rounds = [(rate(plain), rate(engine)) for _ in range(1 + ROUNDS)][1:]
    for theirs, own in rounds:
        print(f"plain PyTorch {theirs:7.1f}, engine {own:7.1f} faces/s: {own / theirs:.2f}")
    print(f"{p.model}, batch {p.train.batch_size}, {p.augment}, {precision} on {where.type}")
    print(f"ratio: {median(own / theirs for theirs, own in rounds):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
