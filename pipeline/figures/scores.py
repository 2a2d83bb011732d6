"""What the scores look like: the confusion matrix, the reliability of confidences, the most confident mistakes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn import metrics

from pipeline.core.files import replacing
from pipeline.evaluation.calibration import BINS, calibration_error, confidence_bins
from pipeline.figures.png import INK, figure_file

# The sheet of mistakes: faces beside each other; inches of a face, of its cell with caption, of the title.
COLUMNS, FACE, CELL_WIDTH, CELL_HEIGHT, TITLE = 8, 1.1, 1.2, 1.55, 0.45


def confusion_table(
    path: Path, split: str, labels: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> None:
    """Write the rows `split,actual,predicted` from which DVC draws its own confusion matrix.

    Args:
        path: the CSV file.
        split: name of the split, the same in every row.
        labels: true classes, [N] integers.
        predicted: predicted classes, [N] integers.
        classes: names, in label order.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["split", "actual", "predicted"])
        rows.writerows((split, classes[a], classes[b]) for a, b in zip(labels, predicted, strict=True))


def confusion_matrix(
    path: Path, split: str, labels: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> None:
    """Draw the confusion matrix: per cell the share of the true class in percent, and the number of faces.

    A class without faces in the split has an empty row. Arguments as in `confusion_table`; `path` is a PNG.
    """
    counts = metrics.confusion_matrix(labels, predicted, labels=np.arange(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.4 + 0.72 * len(classes)
    with figure_file(path, side + 0.6, side - 0.6) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        # One hue from light to dark: read by its lightness alone, so also by the colour-blind and in grey.
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column] == 0:
                continue
            colour = "white" if share > 0.55 else INK
            number = f"{counts[row, column]:,}"
            axes.text(column, row, f"{share:.0%}", ha="center", va="bottom", fontsize=11, color=colour)
            axes.text(column, row + 0.08, number, ha="center", va="top", fontsize=8, color=colour)
        axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        # White lines between the cells, from the minor ticks.
        axes.set_xticks(np.arange(1, len(classes)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        accuracy = metrics.accuracy_score(labels, predicted)
        axes.set_title(f"{split}: {len(labels):,} faces, accuracy {accuracy:.3f}", pad=12)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1, decimals=0))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)


def reliability(path: Path, split: str, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Draw the reliability diagram: accuracy by confidence, and below it the share of faces at each confidence.

    Under the dotted diagonal the network is surer than it is right. Bins without faces are empty.

    Args:
        path: the PNG file.
        split: name of the split, for the title.
        labels: true classes, [N] integers, at least one.
        probabilities: [N, K], rows sum to 1.
    """
    images, right, confidence = confidence_bins(labels, probabilities)
    some = images > 0
    left = np.arange(BINS)[some] / BINS
    accuracy, meant = right[some] / images[some], confidence[some] / images[some]
    bars = {"width": 1 / BINS, "align": "edge", "edgecolor": "white", "linewidth": 1}
    with figure_file(path, 5.2, 6.4) as figure:
        figure.set_layout_engine("constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        upper.bar(left, accuracy, color="#2f7ebc", label="accuracy", **bars)
        upper.plot(meant, meant, "_", color="#d95f0e", markersize=15, markeredgewidth=2.5, label="confidence")
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        lower.bar(left, images[some] / len(labels), color="#9ecae1", **bars)
        lower.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of faces")
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.spines[["top", "right"]].set_visible(False)
        error = calibration_error(labels, probabilities)
        title = f"{split}: {len(labels):,} faces, expected calibration error {error:.3f}"
        upper.set_title(title, pad=30, fontsize=11)


def mistakes_sheet(path: Path, split: str, faces: np.ndarray, captions: Sequence[str]) -> None:
    """Draw wrongly predicted faces with their captions, row by row in the order given.

    Args:
        path: the PNG file.
        split: name of the split, for the title.
        faces: uint8 [M, H, H, C], RGB or grey (C = 1). None at all is a sheet that says so.
        captions: M, of one or two lines each.
    """
    height = TITLE + CELL_HEIGHT * -(-len(faces) // COLUMNS)
    width = COLUMNS * CELL_WIDTH
    with figure_file(path, width, height) as figure:
        # One set of axes for all, in inches from the top left: a set for each face took three times as long.
        axes = figure.add_axes((0, 0, 1, 1))
        what = "the most confident mistakes" if len(faces) else "no mistakes"
        axes.text(width / 2, TITLE / 2, f"{split}: {what}", ha="center", va="center", fontsize=12)
        for place, (face, caption) in enumerate(zip(faces, captions, strict=True)):
            row, column = divmod(place, COLUMNS)
            left, top = column * CELL_WIDTH + (CELL_WIDTH - FACE) / 2, TITLE + row * CELL_HEIGHT
            rgb = np.broadcast_to(face, (*face.shape[:2], 3))
            axes.imshow(rgb, extent=(left, left + FACE, top + FACE, top))
            axes.text(left + FACE / 2, top + FACE + 0.06, caption, ha="center", va="top", fontsize=8)
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
