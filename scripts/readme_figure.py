"""Draw docs/sample.png, the picture in the README, from the outputs of a run on the embedded sample.

Usage: python scripts/readme_figure.py   (after `dvc repro`, in the project's folder)
"""

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipeline import params
from pipeline.tables.paths import ALIGNED, LABELS, PLOTS, RAW
from pipeline.tables.store import Faces

CLASSES = params.load().classes
EACH = 6

labels = pd.read_parquet(LABELS)
labels = labels[labels.split != "train"].sort_values("id")
shown = [labels[labels.label == name].id.tolist()[:EACH] for name in CLASSES]
faces = Faces(ALIGNED / "sample.arrow")
place = {id_: row for row, id_ in enumerate(faces.ids())}


def tile(pictures: list[np.ndarray], columns: int, side: int) -> np.ndarray:
    """Return pictures as one, each fitted into a white cell of side x side pixels."""
    cells = []
    for picture in pictures:
        scale = side / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cell = np.full((side, side, 3), 255, np.uint8)
        y, x = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
        cell[y : y + small.shape[0], x : x + small.shape[1]] = small
        cells.append(cell)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


scenes = [
    cv2.imread(str(RAW / "sample/images" / ids[i].split("/", 1)[1]))[..., ::-1]
    for i in range(3)
    for ids in shown
]
crops = [
    np.repeat(faces[place[id_]], 3, axis=2)
    for ids in zip(*(ids[:4] for ids in shown), strict=False)
    for id_ in ids
]

figure = plt.figure(figsize=(13, 10.5), layout="constrained")
grid = figure.add_gridspec(2, 2, width_ratios=[1.35, 1], height_ratios=[1, 1.15])
panels = [
    (grid[0, 0], tile(scenes, len(CLASSES), 170), "pictures as they go in"),
    (grid[0, 1], tile(crops, len(CLASSES), 96), "faces found, aligned, 48 x 48"),
    (grid[1, 0], cv2.imread(str(PLOTS / "evaluate/test/confusion.png"))[..., ::-1], ""),
    (grid[1, 1], cv2.imread(str(PLOTS / "synthesize/fear.png"))[..., ::-1], "fear: real faces, and DCGAN's"),
]
for cell, picture, title in panels:
    axis = figure.add_subplot(cell)
    axis.imshow(picture)
    axis.set_title(title, fontsize=12)
    axis.set_axis_off()
for axis in figure.axes[:2]:
    width = axis.get_xlim()[1]
    for i, name in enumerate(CLASSES):
        axis.text((i + 0.5) * width / len(CLASSES), -4, name, ha="center", va="bottom", fontsize=8)
    axis.set_title(axis.get_title(), pad=18)
figure.savefig("docs/sample.png", dpi=75, metadata={"Software": None})
