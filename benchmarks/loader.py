"""Faces prepared per second: this loader over PyTorch's with albumentations; and what transforms add to a step.

Both prepare the same operations on the same faces, 48 x 48 colour pixels in memory: rotation, shear and translation,
a random 44 x 44 crop, mirroring, brightness, contrast, saturation and hue, to float32 in 0..1. PyTorch's DataLoader has
two workers, which stay from epoch to epoch; ours has none and uses the same two cores. Epochs in turn; the first ones,
which start workers and fill caches, do not count.

The share of a training step: the time of all transforms and of a method of mixing less that of the crop alone, over
that of a step of `resnet18` with the crop alone, one by one in turn.

    python benchmarks/loader.py [faces] [rounds]
"""

from __future__ import annotations

from pipeline import params  # isort: skip  # before albumentations, which then sends nothing

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pyarrow as pa
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.inference import device
from pipeline.inference.samples import Samples
from pipeline.stages.train import starting_network, training_parts
from pipeline.training import batch_transform
from pipeline.training.engine import TrainingRun
from pipeline.training.plan import Batch, epoch_plan

PARAMS = Path(__file__).parents[1] / "params.yaml"
FACE, CROP, WORKERS, STEPS = 48, 44, 2, 20
ALL = {
    "rotation": 15,
    "shear": 15,
    "translation": 0.1,
    "brightness": 0.25,
    "contrast": 0.25,
    "saturation": 0.05,
    "hue": 0.05,
}


class Theirs(Dataset[Tensor]):
    """The operations as a recipe of albumentations, face by face."""

    def __init__(self, faces: np.ndarray) -> None:
        self.faces = faces
        self.recipe = A.Compose(
            [
                A.Affine(
                    rotate=(-ALL["rotation"], ALL["rotation"]),
                    shear={"x": (-ALL["shear"], ALL["shear"]), "y": (0, 0)},
                    translate_percent=(-ALL["translation"], ALL["translation"]),
                    border_mode=cv2.BORDER_REFLECT,
                    p=1.0,
                ),
                A.RandomCrop(CROP, CROP),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(
                    (0.75, 1.25),
                    (0.75, 1.25),
                    (0.95, 1.05),
                    (-ALL["hue"], ALL["hue"]),
                    p=1.0,
                ),
                ToTensorV2(),
            ]
        )

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, sample: int) -> Tensor:
        return self.recipe(image=self.faces[sample])["image"]


class Table:
    """Faces in memory, as the tables of `Samples`."""

    def __init__(self, faces: np.ndarray) -> None:
        self.faces, self.shape = faces, faces.shape[1:]

    def __getitem__(self, row: int) -> np.ndarray:
        return self.faces[row]


def plan_of(p: params.Params, count: int, epoch: int, method: str = "none") -> list[Batch]:
    """Draw the plan of an epoch with all transforms and a method of mixing."""
    module = import_module(f"pipeline.methods.augments.{method}")
    mixing = partial(module.draw, getattr(p.augments, method))
    transforms = partial(batch_transform.draw, p.train, FACE)
    return epoch_plan(
        p.seed,
        epoch,
        count,
        p.train.batch_size,
        margin=FACE - CROP,
        crop=CROP,
        mirror=True,
        draw=mixing,
        transform=transforms,
    )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loaders(p: params.Params, samples: Samples, faces: np.ndarray, rounds: int) -> None:
    loader = DataLoader(
        Theirs(faces), p.train.batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    epochs = iter(range(rounds + 1))

    threads = torch.get_num_threads()

    def theirs() -> None:
        torch.set_num_threads(1)  # its workers need the cores: with more it is slower
        for images in loader:
            images.float().div_(255)

    def ours() -> None:
        torch.set_num_threads(threads)
        for batch in plan_of(p, len(faces), next(epochs)):
            taken = samples.take(batch.samples)
            batch_transform.apply(taken, CROP, batch.top, batch.left, batch.mirrored, batch.transform)

    rates: dict[str, list[float]] = {"albumentations, 2 workers": [], "ours": []}
    for _ in range(rounds + 1):
        for name, work in zip(rates, (theirs, ours), strict=True):
            rates[name].append(len(faces) / timed(work))
    for name, found in rates.items():
        print(f"{name:>26}: {statistics.median(found[1:]):8.0f} faces/s")
    ratios = [b / a for a, b in zip(*rates.values(), strict=True)][1:]
    print(f"{'ratio':>26}: {statistics.median(ratios):8.1f} (from {min(ratios):.1f} to {max(ratios):.1f})")


def share(p: params.Params, samples: Samples, steps: int) -> None:
    where = device.pick("cpu")
    precision = device.pick_precision("auto", where)
    with tempfile.TemporaryDirectory() as folder:
        network, _ = starting_network(p, where)
        parts = training_parts(p, network, samples)
        run = TrainingRun(parts, p.train, p.seed, samples, None, precision, Path(folder, "unused"))

    def prepared(batch: Batch, faces: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        return batch_transform.apply(faces, CROP, batch.top, batch.left, batch.mirrored, drawn)

    def everything(batch: Batch, faces: Tensor, targets: Tensor, mixing: Any) -> None:
        images = prepared(batch, faces, batch.transform)
        mixing(images, targets, images[batch.partner], targets[batch.partner], batch.draws)

    spent: list[float] = []
    added: dict[str, list[float]] = {}
    for method in ("none", "mixcut", "fmix"):
        mixing = import_module(f"pipeline.methods.augments.{method}").apply
        plan = plan_of(p, len(samples), 0, method)
        for batch in (plan * (steps + 3))[: steps + 3]:
            faces, targets = samples.take(batch.samples), samples.targets[batch.samples]
            alone = timed(partial(prepared, batch, faces, {}))
            whole = timed(partial(everything, batch, faces, targets, mixing))
            spent.append(timed(partial(run._step, replace(batch, transform={}, draws={}), len(faces))))
            added.setdefault(method, []).append((whole - alone) / spent[-1])
    print(
        f"{p.model}, batch {p.train.batch_size}, {precision}: {1000 * statistics.median(spent):.0f} ms a step"
    )
    for method, shares in added.items():
        print(f"{f'all transforms and {method} add':>34}: {statistics.median(shares[3:]):8.1%}")


def main(count: str = "8192", rounds: str = "5") -> None:
    cv2.setNumThreads(0)  # one core per worker, as albumentations advises
    p = params.load(PARAMS)
    p = p.model_copy(
        update={
            "model": "resnet18",
            "augment": "none",
            "align": p.align.model_copy(update={"colour": True, "face_size": FACE}),
            "train": p.train.model_copy(update=ALL | {"batch_size": 64, "crop": CROP, "mirror": True}),
        }
    )
    rng = np.random.default_rng(0)
    # Smooth images: what is drawn does not change the work, noise would only look odd.
    faces = np.stack(
        [cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (FACE, FACE)) for _ in range(int(count))]
    )
    labels = torch.from_numpy(rng.integers(0, len(p.classes), int(count)))
    targets = torch.nn.functional.one_hot(labels, len(p.classes)).float()
    rows = np.arange(int(count))
    samples = Samples(pa.array(map(str, rows)), [Table(faces)], np.zeros_like(rows), rows, targets, labels)  # type: ignore[list-item]
    loaders(p, samples, faces, int(rounds))
    share(p, samples, STEPS)


if __name__ == "__main__":
    main(*sys.argv[1:])
