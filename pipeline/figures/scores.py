"""Figures of scores: the confusion matrix, the reliability diagram, the most confident mistakes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter
from sklearn import metrics

from pipeline.core.files import replacing
from pipeline.evaluation.calibration import BINS, calibration_error, confidence_bins
from pipeline.evaluation.intervals import wilson
from pipeline.figures.png import INK, figure_file
from pipeline.figures.sheet import Grid, captioned_sheet, wrapped
from pipeline.tables.csv_cells import row_writer

# The sheet of mistakes.
COLUMNS, CELLS = 8, Grid(side=1.1, width=1.2, height=1.55, caption_gap=0.06)
NAME_SIZE = 10  # points, of matplotlib's tick labels


def confusion_table(
    path: Path, split: str, labels: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> None:
    """Write the rows `split,actual,predicted`, from which DVC plots its own confusion matrix.

    Args:
        path: the CSV file.
        split: name of the split, in every row.
        labels: true classes, [N] integers.
        predicted: predicted classes, [N] integers.
        classes: names, in label order.
    """
    lines = np.array([[_line(split, actual, guess) for guess in classes] for actual in classes], object)
    text = _line("split", "actual", "predicted") + "".join(lines[labels, predicted])
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _line(*cells: str) -> str:
    """Return a line of a CSV file."""
    file = io.StringIO(newline="")
    row_writer(file)(cells)
    return file.getvalue()


def confusion_matrix(
    path: Path, split: str, labels: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> None:
    """Plot the confusion matrix. A cell has the share of the true class in percent and the number of faces.

    A class without faces in the split has an empty row. Arguments as in `confusion_table`, but `path` is a PNG.
    """
    counts = metrics.confusion_matrix(labels, predicted, labels=np.arange(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [wrapped(name, 1.3, NAME_SIZE) for name in classes]
    lines = [line for name in names for line in name.split("\n")]
    wraps = len(lines) > len(names)
    side = 2.4 + 0.72 * len(classes) + 0.08 * max(0, max(map(len, lines)) - 9)
    with figure_file(path, side + 0.6, side - 0.6 + 0.5 * wraps) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        # One hue: its lightness is enough to read it, for colour-blind people and in grey.
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column] == 0:
                continue
            colour = "white" if share > 0.55 else INK
            number = f"{counts[row, column]:,}"
            axes.text(column, row, f"{share:.0%}", ha="center", va="bottom", fontsize=11, color=colour)
            axes.text(column, row + 0.08, number, ha="center", va="top", fontsize=8, color=colour)
        # Lines one below the other would lie over those of the next name, unless they stand upright.
        turned: dict[str, Any] = {"rotation": 90, "va": "center"} if wraps else {"rotation": 35}
        axes.set_xticks(range(len(classes)), names, ha="right", rotation_mode="anchor", **turned)
        axes.set_yticks(range(len(classes)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        # Minor ticks make white lines between the cells.
        axes.set_xticks(np.arange(1, len(classes)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        accuracy, (low, high) = counts.trace() / len(labels), wilson(int(counts.trace()), len(labels))
        title = f"{split}: {_faces(labels)}\naccuracy {accuracy:.3f}, 95 % {low:.3f} to {high:.3f}"
        axes.set_title(title, pad=12)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1, decimals=0))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)


def reliability(path: Path, split: str, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Plot the reliability diagram: accuracy by confidence, and below it the number of faces in each bin.

    The numbers have a logarithmic scale, because most faces are in the last bin. Each number stands above its bar.

    Below the dotted diagonal the network is overconfident. Bins without faces are empty.

    Args:
        path: the PNG file.
        split: name of the split, for the title.
        labels: true classes, [N] integers, at least one.
        probabilities: [N, K], rows sum to 1.
    """
    images, right, confidence = confidence_bins(labels, probabilities)
    filled = images > 0
    left = np.arange(BINS)[filled] / BINS
    accuracy, mean = right[filled] / images[filled], confidence[filled] / images[filled]
    bars = {"width": 1 / BINS, "align": "edge", "edgecolor": "white", "linewidth": 1}
    with figure_file(path, 6.2, 6.8) as figure:
        figure.set_layout_engine("constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        upper.bar(left, accuracy, color="#2f7ebc", label="accuracy", **bars)
        upper.plot(mean, mean, "_", color="#d95f0e", markersize=17, markeredgewidth=2.5, label="confidence")
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        counted = lower.bar(left, images[filled], color="#9ecae1", log=True, **bars)
        lower.bar_label(counted, [f"{count:,}" for count in images[filled]], fontsize=7, padding=1)
        # From below 1, so that a single face has a bar; to where the numbers above the bars fit.
        lower.set(xlim=(0, 1), ylim=(0.5, 4 * images.max()), xlabel="confidence", ylabel="faces, log scale")
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        lower.yaxis.set_minor_locator(NullLocator())
        lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
        error = calibration_error(labels, probabilities)
        title = f"{split}: {_faces(labels)}, expected calibration error {error:.3f}"
        upper.set_title(title, pad=30, fontsize=11)


def mistakes_sheet(path: Path, split: str, faces: np.ndarray, captions: Sequence[str]) -> None:
    """Plot wrongly predicted faces with their captions, row by row in the order given.

    Args:
        path: the PNG file.
        split: name of the split, for the title.
        faces: uint8 [M, H, H, C], RGB or grey (C = 1). If M is 0, the sheet says so.
        captions: M, of two lines each; longer lines are wrapped.
    """
    mistakes = "the most confident mistakes" if len(faces) else "no mistakes"
    captioned_sheet(path, f"{split}: {mistakes}", faces, captions, COLUMNS, CELLS)


def _faces(labels: np.ndarray) -> str:
    """Return the number of faces as text."""
    return "1 face" if len(labels) == 1 else f"{len(labels):,} faces"
