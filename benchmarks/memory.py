"""Peak memory of all processes together, on large images and on small ones.

Each case runs `fer ingest`, `fer align` and `fer predict` one after the other, with the settings as shipped: one worker
per core. The figure is the largest sum over the process tree, looked at 20 times a second, of each process's share of
the pages that it uses (PSS). Videos are only predicted.

    python benchmarks/memory.py [case ...]
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from pipeline import params
from pipeline.faces.detectors.scrfd import PACKAGED
from pipeline.faces.weights import fetch
from pipeline.inference import model_file
from pipeline.stages.train import starting_network, trained_model
from pipeline.tables.paths import CLASSIFIER, DETECTORS

ROOT = Path(__file__).parents[1]
SECONDS = 0.05  # between two looks


def copies(count: int, ending: str, height: int, width: int) -> Callable[[Path], None]:
    """Return a function that writes an image into a folder, under many names."""

    def write(folder: Path) -> None:
        band = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        noise = ending == ".jpg"  # a flat JPEG takes less to decode than a photograph
        pixels = cv2.resize(band, (width, height)) if noise else np.full((height, width, 3), 128, np.uint8)
        cv2.imwrite(str(folder / f"0{ending}"), pixels)
        for number in range(1, count):
            os.link(folder / f"0{ending}", folder / f"{number}{ending}")

    return write


def film(side: int) -> Callable[[Path], None]:
    """Return a function that writes a video of six square frames."""

    def write(folder: Path) -> None:
        writer = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (side, side))
        frame = np.full((side, side, 3), 128, np.uint8)
        for _ in range(6):
            writer.write(frame)
        writer.release()

    return write


CASES = {
    "small": copies(40, ".png", 48, 48),
    "png": copies(40, ".png", 8000, 8000),
    "photos": copies(200, ".jpg", 4000, 6000),
    "film": film(8000),
    "huge_film": film(12_000),
}
STAGES = ("ingest", "align", "predict")


def peak(*command: str) -> tuple[float, float]:
    """Run a command of `fer` in the current folder; return the peak memory in GB and the time in seconds."""
    start, most = time.perf_counter(), 0
    with open(os.devnull, "w") as nothing:
        process = psutil.Popen([sys.executable, "-m", "pipeline", *command], stdout=nothing, stderr=nothing)
        while process.poll() is None:
            used = 0
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):  # it has just ended
                    used += one.memory_full_info().pss
            most = max(most, used)
            time.sleep(SECONDS)
    return most / 1e9, time.perf_counter() - start


def run(write: Callable[[Path], None]) -> dict[str, tuple[float, float]]:
    """Return peak memory and time of each command in the current folder, which is a project without data."""
    images = Path("data/raw/table/images")
    images.mkdir(parents=True)
    write(images)
    names = sorted(path.name for path in images.iterdir() if path.suffix != ".avi")
    rows = "".join(f"{name},train,fear\n" for name in names)
    (images.parent / "labels.csv").write_text(f"image,split,label\n{rows}")
    found = {}
    for stage in STAGES:
        if stage == "predict":
            found[stage] = peak("predict", str(images), "--output", "out.csv")
        elif names:
            found[stage] = peak(stage, "table")
    return found


def main(*cases: str) -> None:
    weights, p = fetch(PACKAGED, DETECTORS).absolute(), params.load(ROOT / "params.yaml")
    network, _ = starting_network(p, torch.device("cpu"))
    for case in cases or CASES:
        with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
            shutil.copy(ROOT / "params.yaml", ".")
            DETECTORS.mkdir(parents=True)
            shutil.copy(weights, DETECTORS)
            model_file.save(CLASSIFIER, trained_model(p, network))
            found = run(CASES[case])
        for stage, (memory, seconds) in found.items():
            print(f"{case:>10} {stage:>8}: {memory:6.2f} GB, {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
