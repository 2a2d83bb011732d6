"""Faces per second of training on an idle machine and beside busy loops, with and without care for the threads.

"plain" is torch alone, "kept" is what `fer` does (pipeline/core/threads.py). Each has a process of its own in each
round, which measures the idle machine first and then the busy one.

    python benchmarks/busy.py [seconds] [loops] [model] [batch] [rounds]    (in a folder with the outputs of `label`)
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.training.engine import TrainingRun


def measure(seconds: float, loops: int, model: str, batch: int, kept: bool) -> list[float]:
    """Return the faces per second of training on an idle machine and beside busy loops."""
    from pipeline import params
    from pipeline.core import threads
    from pipeline.inference import device
    from pipeline.inference.samples import LabelledFaces
    from pipeline.stages.train import starting_network, training_parts
    from pipeline.training.engine import TrainingRun

    if not kept:
        threads.keep_apart = lambda: None  # type: ignore[assignment]
    p = params.load()
    p = p.model_copy(update={"model": model, "train": p.train.model_copy(update={"batch_size": batch})})
    where = device.pick("cpu")
    train = LabelledFaces(p.classes, p.train_datasets, p.align).split("train")
    parts = training_parts(p, starting_network(p, where)[0], train)
    unused = Path(tempfile.mkdtemp(), "unused")
    precision = device.pick_precision(p.train.precision, where)
    run = TrainingRun(parts, p.train, p.seed, train, None, precision, unused)
    rates = [rate(run, seconds)]
    with busy(loops):
        rates.append(rate(run, seconds))
    return rates


def rate(run: TrainingRun, seconds: float) -> float:
    """Return the faces per second of the training step."""
    plan = run.plan(0)
    faces, begin, warm = 0, time.perf_counter(), False
    for step in (step for _ in range(10**6) for step in plan):
        run._step(step, len(step.samples))
        faces += len(step.samples)
        spent = time.perf_counter() - begin
        if not warm and spent > seconds / 4:
            faces, begin, warm = 0, time.perf_counter(), True
        elif warm and spent > seconds:
            break
    return faces / spent


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Run processes that use a core each."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main(
    seconds: str = "8", loops: str = "2", model: str = "light", batch: str = "32", rounds: str = "3"
) -> None:
    from pipeline.core import threads

    def child(kept: bool) -> list[float]:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))
        }
        environment |= {"GOMP_SPINCOUNT": threads.SPINS} if kept else {}
        command = [sys.executable, __file__, "child", seconds, loops, model, batch, str(kept)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return [float(word) for word in done.stdout.split()]

    rates: dict[str, list[list[float]]] = {"plain": [], "kept": []}
    for _ in range(int(rounds)):
        for name, measured in rates.items():
            measured.append(child(name == "kept"))
    print(f"{model}, batch {batch}, {os.cpu_count()} cores, {loops} busy loops; faces/s, median of {rounds}")
    idle = {}
    for name, measured in rates.items():
        idle[name], beside = map(statistics.median, zip(*measured, strict=True))
        print(f"{name:>8}: idle {idle[name]:7.1f}, busy {beside:7.1f}; busy/idle {beside / idle[name]:.2f}")
    print(f"idle, kept/plain: {idle['kept'] / idle['plain']:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _, _, seconds, loops, model, batch, kept = sys.argv
        print(*measure(float(seconds), int(loops), model, int(batch), kept == "True"))
    else:
        main(*sys.argv[1:])
