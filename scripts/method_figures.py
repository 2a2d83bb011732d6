"""Draw the images of docs/methods: what each augmentation and each GAN makes of faces, and how each loss pulls.

Usage: python -m scripts.method_figures   (in the project's folder, after `dvc repro`), then `make pages`

The faces are drawn ones of the embedded sample; `docs/augmentations.png` shows two of them under every augmentation.
The GANs train for seven minutes of a core in all (`scripts/gan_figures.py`). The losses need no data
(`scripts/loss_figures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline import params
from pipeline.methods.augments import View
from pipeline.params.methods import choices
from pipeline.tables.paths import ALIGNED, LABELS
from pipeline.tables.store import Faces
from scripts import gan_figures, loss_figures
from scripts.documentation.images import DOCS, save
from scripts.strips import COLUMNS, GREYS, Row, drawn

SEED = 7


class Batch(NamedTuple):
    """Faces [N, C, H, W] in 0..1 and targets [N, K]."""

    images: Tensor
    targets: Tensor


def batch(labels: pd.DataFrame, faces: Faces, classes: Sequence[str], names: Sequence[str]) -> Batch:
    """Return training faces of the classes `names`, in this order; of each class no face twice.

    Args:
        labels: the table of the stage `label`.
        faces: the table of the stage `align`.
        classes: of the targets.
        names: the class of each face.
    """
    rows = {id_: row for row, id_ in enumerate(faces.ids())}
    train = labels[labels.split == "train"].sort_values("id")
    ids = {name: iter(train[train.label == name].id) for name in classes}
    pixels = np.stack([faces[rows[next(ids[name])]] for name in names])
    targets = torch.eye(len(classes))[[classes.index(name) for name in names]]
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, targets)


def applied(name: str, first: Batch, second: Batch, **settings: Any) -> list[View]:
    """Return what an augmentation makes of faces and their partners, with its settings as shipped but for `settings`.

    A setting that the augmentation does not have is left out.
    """
    module = import_module(f"pipeline.methods.augments.{name}")
    shipped = getattr(params.load().augments, name)
    asked = {key: value for key, value in settings.items() if key in type(shipped).model_fields}
    rng = np.random.default_rng(SEED)
    draws = module.draw(shipped.model_copy(update=asked), rng, len(first.images), first.images.shape[-1])
    return module.apply(*first, *second, {key: torch.as_tensor(value) for key, value in draws.items()})


def strip(name: str, first: Batch, second: Batch, classes: Sequence[str], path: Path) -> None:
    """Write the strip of an augmentation: faces, partners if they matter, and each view, with the labels below."""
    views = applied(name, first, second, probability=1.0)
    alone = applied(name, first, first, probability=1.0)
    same = all(torch.equal(a.images, b.images) for a, b in zip(views, alone, strict=True))
    rows = [("face", *first)]
    if not same:
        rows.append(("partner", *second))
    if any(not torch.equal(view.images, first.images) for view in views):
        rows += [(_name(view), view.images, view.targets) for view in views]
    seen = "Drawn faces in a row, with their labels"
    caption = "The network gets the faces (here drawn ones of the embedded sample) with no change but crop and mirror."
    if len(rows) > 1:
        seen += f"{'' if same else '; below them their partners'}; below them what {name} makes of them"
        caption = (
            f"Each column shows a drawn face of the embedded sample{'' if same else ', its partner'} and what the "
            "network gets, with the settings of `params.yaml` but every face changed"
            f"{'; the last row counts with the weight beside it' if len(views) > 1 else ''}."
        )
    own = first.targets
    shown = [
        Row(title, images, [_label(*pair, classes) for pair in zip(targets, own, strict=True)])
        for title, images, targets in rows
    ]
    save(drawn(shown), path, seen, caption, GREYS)


def _name(view: View) -> str:
    return "network gets" if view.weight == 1 else f"weight {view.weight:g}"


def _label(target: Tensor, own: Tensor, classes: Sequence[str]) -> list[str]:
    """Return the lines of a label: its classes with their shares, the face's `own` first; a single class alone."""
    shares = zip(own.tolist(), target.tolist(), classes, strict=True)
    kept = sorted((share for share in shares if share[1] > 0), reverse=True)
    return [f"{name} {share:.2f}" if len(kept) > 1 else name for _, share, name in kept]


def overview(first: Batch, second: Batch, path: Path) -> None:
    """Write one image of every augmentation, each with four faces and lambda 0.6."""
    rows = {"none": first.images, "the partner": second.images}
    for name in choices("augment"):
        if name != "none":
            rows[name] = applied(name, first, second, probability=1.0, lam=0.6)[0].images
    figure, axes = plt.subplots(2, (len(rows) + 1) // 2, figsize=(9, 4.9), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, images) in zip(axes.flat, rows.items(), strict=False):
        tile = np.vstack(
            [np.hstack(list(pair)) for pair in images[:, 0].numpy().reshape(2, 2, *images.shape[2:])]
        )
        axis.imshow(tile, cmap="gray", vmin=0, vmax=1)
        axis.set_title(name, fontsize=10)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Write every image into docs/, those of the losses first: they need no data."""
    loss_figures.write(DOCS / "methods/loss")
    p = params.load()
    classes = p.classes
    labels, faces = pd.read_parquet(LABELS), Faces(ALIGNED / "sample.arrow")
    names = [classes[column % len(classes)] for column in range(COLUMNS)]
    first = batch(labels, faces, classes, names)
    second = batch(labels, faces, classes, [*names[3:], *names[:3]])
    for name in choices("augment"):
        strip(name, first, second, classes, DOCS / f"methods/augment/{name}.png")
    four = [batch(labels, faces, classes, [name] * 4) for name in ("happiness", "surprise")]
    overview(*four, DOCS / "augmentations.png")
    gan_figures.write(DOCS / "methods/gan", p)


if __name__ == "__main__":
    main()
