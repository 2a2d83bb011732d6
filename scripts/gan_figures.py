"""Draw the images of docs/methods/gan: real faces, and what each GAN makes of them in the course of its training."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from pipeline.inference.device import pick_precision
from pipeline.inference.samples import LabelledFaces
from pipeline.params.methods import choices
from pipeline.params.model import Params
from pipeline.synthesis.generators import GanSetup, fit_generators
from pipeline.tables.paths import MODELS
from scripts.documentation.images import save
from scripts.strips import COLUMNS, Row, drawn


class Short(NamedTuple):
    """A training that takes one and a half to four minutes of a core.

    Attributes:
        settings: those that differ from the GAN's block in params.yaml.
        side: pixels to which the faces are scaled down; 0: as they are.
        faces: of each class; 0: all.
    """

    settings: dict[str, int]
    side: int = 0
    faces: int = 0


SHORT = {
    "dcgan": Short({"width": 16, "epochs": 1000, "least_steps": 0}),
    "wgan_gp": Short({"width": 16, "epochs": 2000, "least_steps": 0}, side=24),
    "cgan": Short({"width": 24, "epochs": 440, "least_steps": 0, "batch_size": 16}, side=24, faces=18),
}
# Parts of a training after which a strip shows generated faces.
STAGES = (1 / 4, 1 / 2, 1)
GREYS = 32
NOTHING = [[]] * COLUMNS


def write(folder: Path, p: Params) -> None:
    """Write the strip of every GAN into a folder. A GAN that was trained for it before is reused."""
    samples = LabelledFaces(p.classes, p.gan_datasets, p.align).learnable()
    faces, labels = samples.gather(np.arange(len(samples))), samples.labels.numpy()
    for name in choices("gan"):
        strip(name, p, faces, labels, folder / f"{name}.png", SHORT.get(name, Short({})))


def strip(name: str, p: Params, faces: np.ndarray, labels: np.ndarray, path: Path, short: Short) -> None:
    """Write the strip of a GAN: real faces, and below them those that it adds.

    A conditional GAN shows every class, and a GAN of one class the first of `gans.classes`.

    Args:
        name: of the GAN's module.
        p: the parameters.
        faces: training faces, uint8 [N, H, W, C].
        labels: class index of each, int64 [N].
        path: the file.
        short: how the GAN's training is shortened.
    """
    if short.side:
        size = (short.side, short.side)
        small = [cv2.resize(face, size, interpolation=cv2.INTER_AREA) for face in faces]
        faces = np.stack(small).reshape(len(faces), *size, faces.shape[3])
    if short.faces:
        rows = [np.flatnonzero(labels == label)[: short.faces] for label in np.unique(labels)]
        kept = np.sort(np.concatenate(rows))
        faces, labels = faces[kept], labels[kept]
    module = import_module(f"pipeline.methods.gans.{name}")
    if name == "none":
        rows = _every_class(p, faces, labels)
        seen, caption = "with their classes", "The training set holds real faces only."
    elif not hasattr(module, "build"):
        rows, seen, caption = _repeated(module, name, p, faces, labels)
    else:
        rows, seen, caption = _trained(module.CONDITIONAL, name, p, faces, labels, short.settings)
    seen = f"Real faces in a row{', ' if name == 'none' else '; below them '}{seen}"
    save(drawn(rows), path, seen, f"{caption} The faces are drawn ones of the embedded sample.", GREYS)


def _every_class(p: Params, faces: np.ndarray, labels: np.ndarray) -> list[Row]:
    shown = np.resize(np.unique(labels), COLUMNS)
    return [Row("real", _tensor(_first(faces, labels, shown)), [[p.classes[label]] for label in shown])]


def _one_class(p: Params, faces: np.ndarray, labels: np.ndarray) -> tuple[str, list[Row]]:
    name = p.gans.classes[0]
    shown = np.full(COLUMNS, p.classes.index(name))
    return name, [Row("real", _tensor(_first(faces, labels, shown)), NOTHING)]


def _repeated(
    module: Any, name: str, p: Params, faces: np.ndarray, labels: np.ndarray
) -> tuple[list[Row], str, str]:
    cls, rows = _one_class(p, faces, labels)
    shown = _first(faces, labels, np.full(COLUMNS, p.classes.index(cls)))
    [generator] = module.generators(shown, np.full(COLUMNS, cls), [cls]).values()
    rows.append(Row("repeated", _tensor(generator.faces(range(COLUMNS))), NOTHING))
    caption = f"Each face that `{name}` adds is one of the real faces, here one of eight faces of {cls}."
    return rows, "copies of them, some more than once", caption


def _trained(
    conditional: bool, name: str, p: Params, faces: np.ndarray, labels: np.ndarray, changes: dict[str, int]
) -> tuple[list[Row], str, str]:
    settings = getattr(p.gans, name).model_copy(update=changes)
    size = faces.shape[1]
    cpu, folder = torch.device("cpu"), MODELS / "checkpoints"
    precision = pick_precision(p.train.precision, cpu)
    setup = GanSetup(name, settings, p.seed, cpu, precision, 1, folder, p.train.checkpoint_seconds)
    if conditional:
        rows, of, count = _every_class(p, faces, labels), "of each class", len(faces)
    else:
        cls, rows = _one_class(p, faces, labels)
        of, count = f"of {cls}", int((labels == p.classes.index(cls)).sum())
    fitted = fit_generators(setup, faces.__getitem__, labels, p.classes, p.gans.classes[:1])
    [result] = fitted.results.values()
    epochs = np.array(result.progress.shown)
    kept = [int(np.abs(epochs - part * epochs[-1]).argmin()) for part in STAGES]
    rows += [Row(f"epoch {epochs[i]:,}", _tensor(result.shown[i]), NOTHING) for i in kept]
    after = " and ".join([", ".join(f"{epochs[i]:,}" for i in kept[:-1]), f"{epochs[kept[-1]]:,}"])
    changed = ", ".join(f"`{key}: {value}`" for key, value in changes.items() if value)
    caption = (
        f"Real faces {of}, and what `{name}` makes of the same noise after {after} epochs of a short training on "
        f"{count:,} faces of {size} x {size} pixels with {changed or 'the settings of `params.yaml`'}. A longer one "
        "gives better faces."
    )
    return rows, f"faces {of} that {name} generates after {after} epochs", caption


def _first(faces: np.ndarray, labels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return a face of each class index in `shown`, no face twice."""
    left = {label: iter(np.flatnonzero(labels == label)) for label in set(shown.tolist())}
    return faces[[next(left[label]) for label in shown.tolist()]]


def _tensor(faces: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(faces).permute(0, 3, 1, 2) / 255
