"""Train rows of a recipe side by side in one process on one GPU, without DVC. Each row that ends is kept.

A sweep of `fer recipe run` trains each row in a process of its own. One small network leaves most of a GPU idle, and
processes take turns on it. Here each row has a thread and a CUDA stream.

    python benchmarks/side_by_side.py RECIPE OUTPUT ROW... [--seed 1] [--epochs 250] [--compile]

Run it in a folder with the outputs of `label` for the recipe's parameters. OUTPUT is a folder; each row writes
`<row>-<seed>.json` with its epochs, minutes and scores on `valid`, and `<row>-<seed>.tsv` with its curve.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from pipeline.core import yaml
from pipeline.experiments import recipes
from pipeline.inference import device
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import probabilities
from pipeline.inference.samples import LabelledFaces
from pipeline.params import validated
from pipeline.params.settings import SHIPPED
from pipeline.stages.train import starting_network, training_parts
from pipeline.training.engine import TrainingRun

# Steps of different rows set the seed of the same generator, so a step is launched before the next one begins.
LAUNCHING = threading.Lock()


class Row(TrainingRun):
    """A training run beside others in one process."""

    def _step(self, *given: Any, **named: Any) -> torch.Tensor:
        with LAUNCHING:
            return super()._step(*given, **named)


def main(
    recipe: str,
    output: Path,
    rows: list[str],
    seed: Annotated[list[int] | None, typer.Option(help="1 by default.")] = None,
    epochs: Annotated[int, typer.Option(help="0: those of the recipe.")] = 0,
    compile: Annotated[bool, typer.Option(help="Set train.compile.")] = False,
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    table, started = recipes.load(recipe), time.monotonic()
    runs = [(row, number) for number in seed or [1] for row in rows]
    failed: list[str] = []

    def train(row: str, number: int) -> None:
        changed = table.overrides(row, short=False) | {"seed": number, "train.compile": compile}
        changed |= {"train.epochs": epochs} if epochs else {}
        try:
            fit(f"{row}-{number}", changed, output)
        except Exception as error:
            failed.append(f"{row}-{number}: {error}")
            raise

    threads = [threading.Thread(target=train, args=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(runs) - len(failed)} of {len(runs)} rows in {(time.monotonic() - started) / 60:.1f} minutes")
    raise SystemExit("\n".join(failed) or None)


def fit(name: str, changed: recipes.Overrides, output: Path) -> None:
    """Train one row, and write its scores on `valid`: of the best epoch by the centre crop, and by the ten crops."""
    with LAUNCHING:
        document = yaml.read(SHIPPED)
        recipes.override(document, changed, SHIPPED)
        p = validated(document, SHIPPED)
        where = device.pick(p.train.device)
        precision = device.pick_precision(p.train.precision, where)
        faces = LabelledFaces(p.classes, p.train_datasets, p.align)
        train, valid = faces.split("train"), faces.split("valid")
        network, _ = starting_network(p, where)
        parts = training_parts(p, network, train)
        run = Row(parts, p.train, p.seed, train, valid, precision, Path(tempfile.mkdtemp(), "none"))
    started = time.monotonic()
    curve = output / f"{name}.tsv"
    curve.write_text("epoch\tminutes\tloss\ttrain\tvalid\n", encoding="utf-8")

    def log(index: int, figures: dict[str, float]) -> None:
        columns = [index + 1, (time.monotonic() - started) / 60]
        columns += [figures[key] for key in ("train/loss", "train/accuracy", "valid/accuracy")]
        with curve.open("a", encoding="utf-8") as file:
            file.write("\t".join(f"{value:.5g}" for value in columns) + "\n")

    stream = torch.cuda.Stream() if where.type == "cuda" else None
    with torch.cuda.stream(stream):
        run.fit(log)
        minutes = (time.monotonic() - started) / 60
        views, size = VIEWS["ten" if p.evaluate.ten_crop else "mirror" if p.evaluate.mirror else "centre"]
        chances = probabilities(network, valid.batches(size), p.train.crop, views, precision)
    best = run.state.best if run.state.best >= 0 else len(run.state.history) - 1
    result = {
        "epochs": len(run.state.history),
        "best_epoch": best + 1,
        "minutes": minutes,
        "centre": run.state.history[best]["valid/accuracy"],
        "accuracy": float((chances.argmax(1) == valid.labels.numpy()).mean()),
        "last": run.state.history[-1]["valid/accuracy"],
    }
    (output / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    typer.run(main)
