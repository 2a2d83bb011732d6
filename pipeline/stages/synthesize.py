"""Stage `synthesize`: a GAN trained on the training split alone, and the faces it generates."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import typer
from safetensors.torch import save

from pipeline.files import replacing_folder, write_json
from pipeline.gan import Generator
from pipeline.params import Params
from pipeline.paths import METRICS, MODELS, PLOTS, SYNTHETIC
from pipeline.schema import synthetic
from pipeline.tables import write_rows
from pipeline.training import data, device

GENERATORS = MODELS / "gan"
GRIDS = PLOTS / "synthesize"
GRID_SIDE = 8


def run(p: Params) -> None:
    """Train a GAN on the training split, generate faces, and draw real ones beside them."""
    name, settings = p.chosen("gan")
    targets = p.gans.classes if name != "none" else []
    each = p.gans.images_per_class
    where = device.pick(p.train.device)

    train = data.real("train", p)
    labels = np.array(p.classes)[train.labels.numpy()]
    used = np.flatnonzero(np.isin(labels, targets))
    faces = train.take(torch.from_numpy(used)).numpy()
    fit = importlib.import_module(f"pipeline.gan.{name}").fit
    generators: dict[str, Generator] = fit(settings, faces, labels[used], targets, p.seed, where)

    seeds = {cls: list(range(i * each, (i + 1) * each)) for i, cls in enumerate(targets)}
    generated = {cls: generator.faces(seeds[cls]) for cls, generator in generators.items()}
    digests = {cls: generator.digest() for cls, generator in generators.items()}

    def rows() -> Iterator[dict[str, Any]]:
        for cls in sorted(generators):
            origin = f"{name}/{cls}/{digests[cls]}"
            for seed, face in zip(seeds[cls], generated[cls], strict=True):
                row = {"id": f"synthetic/{cls}/{seed:06d}", "label": cls, "face": face.tobytes()}
                yield row | {"seed": seed, "generator": origin}

    write_rows(SYNTHETIC, synthetic(p.align.face_size, 3 if p.align.colour else 1), rows())
    index = {
        cls: {"gan": name, "sha256": digests[cls], "trained_on": generator.trained_on}
        for cls, generator in generators.items()
    }
    with replacing_folder(GENERATORS) as folder:
        for cls, generator in generators.items():
            (folder / f"{cls}.safetensors").write_bytes(save(generator.weights()))
        write_json(folder / "generators.json", index)
    with replacing_folder(GRIDS) as folder:
        for cls in generators:
            _grid(folder / f"{cls}.png", faces[labels[used] == cls], generated[cls])
        if not generators:  # DVC wants every declared folder to hold something, and shows pictures alone
            blank = np.full((40, 280), 255, np.uint8)
            note = cv2.putText(blank, "no synthetic faces", (10, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0)
            (folder / "none.png").write_bytes(cv2.imencode(".png", note)[1].tobytes())
    write_json(
        METRICS / "synthesize.json",
        {
            cls: {"images": len(generated[cls]), "trained_on": generators[cls].trained_on}
            for cls in generators
        },
    )
    total = sum(map(len, generated.values()))
    typer.echo(f"synthesize: {name}, {total} faces" + (f" of {', '.join(generators)}" if generators else ""))


def _grid(path: Path, real: np.ndarray, generated: np.ndarray) -> None:
    """Draw real faces of a class on the left and generated ones on the right, as one PNG."""
    height, width, channels = real.shape[1:]
    white = np.full((GRID_SIDE * height, width // 4, channels), 255, np.uint8)
    sheet = np.hstack([_tile(real), white, _tile(generated)])
    if channels == 3:
        sheet = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".png", cv2.resize(sheet, None, fx=2, fy=2))[1].tobytes())


def _tile(faces: np.ndarray) -> np.ndarray:
    """Return the first faces as a square of `GRID_SIDE` each way, white where there are too few."""
    cells = np.full((GRID_SIDE**2, *faces.shape[1:]), 255, np.uint8)
    shown = faces[: GRID_SIDE**2]
    cells[: len(shown)] = shown
    return np.vstack([np.hstack(list(row)) for row in cells.reshape(GRID_SIDE, GRID_SIDE, *faces.shape[1:])])
