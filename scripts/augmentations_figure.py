"""Draw docs/augmentations.png: what every augmentation makes of two faces of the embedded sample.

Usage: python scripts/augmentations_figure.py   (after `dvc repro`, in the project's folder)
"""

import importlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from pipeline import params
from pipeline.params.methods import choices
from pipeline.tables.paths import ALIGNED, LABELS
from pipeline.tables.store import Faces

COLUMNS, LAMBDA = 4, 0.6

labels = pd.read_parquet(LABELS)
labels = labels[labels.split == "train"].sort_values("id")
faces = Faces(ALIGNED / "sample.arrow")
place = {id_: row for row, id_ in enumerate(faces.ids())}
happy, surprised = ([place[i] for i in labels[labels.label == name].id] for name in ("happiness", "surprise"))
images = torch.from_numpy(np.stack([faces[row] for row in happy[:COLUMNS]])).permute(0, 3, 1, 2) / 255
partners = torch.from_numpy(np.stack([faces[row] for row in surprised[:COLUMNS]])).permute(0, 3, 1, 2) / 255
targets = torch.eye(2)[[0] * COLUMNS]

rows = {"none": images, "the partner": partners}
for name in choices("augment"):
    if name == "none":
        continue
    module = importlib.import_module(f"pipeline.methods.augments.{name}")
    asked = {"probability": 1.0, "lam": LAMBDA}
    shipped = getattr(params.load().augments, name)
    settings = shipped.model_copy(update={k: v for k, v in asked.items() if k in type(shipped).model_fields})
    draws = module.draw(settings, np.random.default_rng(1), COLUMNS, images.shape[-1])
    views = module.apply(
        images, targets, partners, 1 - targets, {key: torch.as_tensor(value) for key, value in draws.items()}
    )
    rows[name] = views[0].images

figure, axes = plt.subplots(2, (len(rows) + 1) // 2, figsize=(9, 4.9), layout="constrained")
for axis in axes.flat:
    axis.set_axis_off()
for axis, (name, pictures) in zip(axes.flat, rows.items(), strict=False):
    tile = np.vstack(
        [np.hstack(list(pair)) for pair in pictures[:, 0].numpy().reshape(2, 2, *images.shape[2:])]
    )
    axis.imshow(tile, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name, fontsize=10)
figure.savefig("docs/augmentations.png", dpi=75, metadata={"Software": None})
