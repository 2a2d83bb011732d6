"""Processor time and memory of the stages on large tables, without the work that is the same for each face.

The tables are made of the faces of FER+ in this folder, each new face mixed of two and with noise; one of fifty is an
exact copy of another. Half of them have a person, all have attributes, and their votes are those of one of the two.
Measured are `label`; `train` from its start to its first step; `evaluate` with given predictions, as the network takes
the same time for each face; and `report`. Each runs alone, on one thread.

    python benchmarks/scale.py [rows ...]     (after `align`)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from pipeline.tables import schema
from pipeline.tables.paths import ALIGNED, CLASSIFIER, INGESTED, METRICS, SYNTHETIC
from pipeline.tables.store import Faces, read_parquet, write_batches, write_rows

ROOT = Path(__file__).parents[1]
DATASET = "ferplus"
ROWS = 4096  # made at a time
STEPS = ("label", "synthesize", "train", "evaluate", "report")
PERSON = 20  # images
# The settings of the run; the rest is as shipped.
CHANGES = {"datasets": [DATASET], "model": "light", "gan": "dcgan", "augment": "mixup"}


def mixed(faces: Faces, rng: np.random.Generator, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some rows of the table, and a new face for each of them, uint8 [n, H, W, C], `count` in all."""
    pixels = np.stack([faces[row] for row in range(len(faces))])
    for start in range(0, count, ROWS):
        size = min(ROWS, count - start)
        left, right = rng.integers(0, len(faces), (2, size))
        share = rng.uniform(0.2, 0.8, (size, 1, 1, 1)).astype(np.float32)
        noise = rng.normal(0, 4, (size, *faces.shape)).astype(np.float32)
        made = (share * pixels[left] + (1 - share) * pixels[right] + noise).clip(0, 255).astype(np.uint8)
        copied = rng.choice(size, size // 50, replace=False)
        made[copied] = made[rng.integers(0, size, len(copied))]
        yield left, made


def write_tables(root: Path, count: int) -> None:
    """Write what `ingest` and `align` would write of `count` images into a folder."""
    rng = np.random.default_rng(0)
    faces = Faces(ALIGNED / f"{DATASET}.arrow")
    names = [name for name in schema.ingested().names if name != "image"]
    images = read_parquet(INGESTED / f"{DATASET}.parquet", names).combine_chunks()
    image = cv2.imencode(".png", np.full((48, 48), 128, np.uint8))[1].tobytes()
    columns = {INGESTED: schema.ingested(), ALIGNED: schema.aligned(faces.shape[0], faces.shape[2])}

    def batches(folder: Path) -> Iterator[pa.RecordBatch]:
        made = 0
        table = faces.table if folder == ALIGNED else images
        for rows, pixels in mixed(faces, np.random.default_rng(1), count):
            taken = table.take(rows)
            places = range(made, made + len(rows))
            made += len(rows)
            changed = {"id": [f"{DATASET}/train/fer{i:08d}.png" for i in places]}
            if folder == ALIGNED:
                changed["face"] = pa.array(
                    [face.tobytes() for face in pixels], columns[folder].field("face").type
                )
            else:
                changed["image"] = [image] * len(rows)
                changed["pixels"] = [hashlib.sha256(face.tobytes()).hexdigest() for face in pixels]
                people = rng.integers(0, max(1, count // PERSON), len(rows))
                changed["group"] = [f"person {who}" if who % 2 else None for who in people]
                changed["attributes"] = [
                    [("gender", ("female", "male")[who % 2]), ("age", ("4-19", "20-39", "40-69")[who % 3])]
                    for who in people.tolist()
                ]
            arrays = [
                pa.array(changed[field.name], field.type)
                if field.name in changed
                else taken[field.name].combine_chunks()
                for field in columns[folder]
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=columns[folder])

    for folder, ending in ((INGESTED, ".parquet"), (ALIGNED, ".arrow")):
        write_batches(root / folder / f"{DATASET}{ending}", columns[folder], batches(folder))
    shutil.copytree(METRICS / "ingest", root / METRICS / "ingest")


def write_project(root: Path, count: int) -> None:
    """Write the settings, the tables and a network without training into a folder."""
    import torch
    from ruamel.yaml import YAML

    from pipeline.inference import model_file
    from pipeline.params.load import load
    from pipeline.stages.train import starting_network, trained_model

    write_tables(root, count)
    yaml = YAML()
    settings = yaml.load(ROOT / "params.yaml")
    yaml.dump(settings | CHANGES, root / "params.yaml")
    p = load(root / "params.yaml")
    network, _ = starting_network(p, torch.device("cpu"))
    model_file.save(root / CLASSIFIER, trained_model(p, network))


def write_synthetic() -> None:
    """Write a generated face for every ten samples of train, as `synthesize` would, into the current folder."""
    from pipeline.inference.samples import LabelledFaces, digest
    from pipeline.params.load import load

    p = load()
    samples = LabelledFaces(p.classes, [DATASET], p.align).learnable()
    side, _, channels = samples.shape
    columns = schema.synthetic(side, channels, digest(samples), [DATASET])
    rows = (
        {
            "id": f"synthetic/{i:08d}",
            "label": p.classes[samples.labels[i]],
            "face": samples.gather(np.array([i])).tobytes(),
            "seed": i,
            "generator": "none",
        }
        for i in range(len(samples) // 10)
    )
    write_rows(SYNTHETIC, columns, rows)


def step(name: str) -> None:
    """Run a step in this process and in the current folder."""
    from pipeline.params.load import load

    if name == "synthesize":
        write_synthetic()
    elif name == "report":
        from pipeline.commands.report import report

        report(None, Path("report.html"))
    elif name == "train":
        from pipeline.stages import train
        from pipeline.training.engine import TrainingRun

        class FirstStep(Exception):
            pass

        def stop(*_: object) -> None:
            raise FirstStep

        TrainingRun._step = stop  # type: ignore[method-assign,assignment]
        with contextlib.suppress(FirstStep):
            train.run(load())
    elif name == "evaluate":
        from pipeline.stages import evaluate

        def given(p: object, model: object, samples: object, *_: object) -> tuple[np.ndarray, np.ndarray]:
            logits = np.random.default_rng(2).normal(0, 1, tuple(samples.targets.shape)).astype(np.float32)  # type: ignore[attr-defined]
            chances = np.exp(logits + 3 * samples.targets.numpy())  # type: ignore[attr-defined]
            return chances / chances.sum(axis=1, keepdims=True), logits[:, :2]

        evaluate._scored = given  # type: ignore[assignment]
        evaluate.run(load())
    else:
        from pipeline.stages import label

        label.run(load())


def measured(root: Path, name: str) -> tuple[float, float, float]:
    """Run a step in a process of its own.

    Returns:
        Processor time in seconds; the peak of the memory in use, and of what of it is no mapped file, in GB.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, Path(__file__).resolve(), "--step", name]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    peak = own = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        # Not the kernel's peak at the end, which has the memory of this process before the other program started.
        text = Path(f"/proc/{process.pid}/status").read_text()
        found = dict(re.findall(r"(VmHWM|RssAnon):\s+(\d+)", text))
        peak, own = (max(most, int(found.get(name, 0))) for most, name in ((peak, "VmHWM"), (own, "RssAnon")))
        time.sleep(0.05)
    if status:
        raise SystemExit(f"{name} failed")
    return usage.ru_utime + usage.ru_stime, peak / 1e6, own / 1e6


def main(*counts: str) -> None:
    for count in map(int, counts or ("10000", "100000", "1000000")):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_project(root, count)
            for name in STEPS:
                seconds, peak, own = measured(root, name)
                if name == "synthesize":  # only writes what train reads
                    continue
                told = f"{seconds:6.1f} s, {peak:5.2f} GB, {own:5.2f} GB without mapped files"
                if name == "report":
                    told += f", {(root / 'report.html').stat().st_size / 1e6:.1f} MB"
                print(f"{count:>10,} {name:>9}: {told}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2])
    else:
        main(*sys.argv[1:])
