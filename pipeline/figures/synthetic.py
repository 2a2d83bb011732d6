"""Figures of synthetic faces: beside real ones, by epoch, between latent vectors, with neighbours, and curves.

Faces are uint8, RGB or grey (C = 1), and square. `path` is a PNG file; a UserError says that it cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.curves import COLOURS, epoch_axes, marker, moving_average
from pipeline.figures.png import figure_file
from pipeline.figures.sheet import Grid, sheet

SIDE = 8  # rows and columns of real faces, and of generated ones beside them
# Inches: a face with the gap to the next one, the gap, the margin, the column of row titles, the heading of a column,
# the title.
CELL, GAP, MARGIN, LEFT, HEADING, TITLE = 0.75, 0.04, 0.15, 0.55, 0.28, 0.5
CELLS = Grid(CELL - GAP, CELL, CELL)
CAPTIONED = Grid(CELL - GAP, CELL, CELL + 0.2)
LETTER = 0.1  # width of a letter, so that a long title widens the sheet
STYLES = ("-", "--", ":", "-.")


def real_beside_generated(path: Path, title: str, real: np.ndarray, generated: np.ndarray) -> None:
    """Plot the first 64 real faces on the left and the first 64 generated faces on the right.

    Args:
        path: the PNG file.
        title: of the sheet.
        real: [N, H, W, C]; if N is less than 64, the other cells stay white.
        generated: [M, H, W, C], the same.
    """
    side = SIDE * CELL
    with _titled_sheet(path, title, 2 * side + LEFT, side + HEADING) as axes:
        for i, (heading, faces) in enumerate({"real": real, "generated": generated}.items()):
            left = MARGIN + i * (side + LEFT)
            axes.text(left, TITLE + HEADING / 2, heading, va="center", fontsize=11)
            CELLS.plot(axes, faces[: SIDE**2], left, TITLE + HEADING, SIDE)


def by_epoch(path: Path, title: str, epochs: Sequence[int], faces: np.ndarray) -> None:
    """Plot the faces of fixed latent vectors over the training: a row for each epoch, the first one on top.

    Args:
        path: the PNG file.
        title: of the sheet.
        epochs: E numbers.
        faces: [E, n, H, W, C].
    """
    rows, columns = faces.shape[:2]
    with _titled_sheet(path, title, LEFT + columns * CELL, HEADING + rows * CELL) as axes:
        right = MARGIN + LEFT - 2 * GAP
        axes.text(right, TITLE + HEADING / 2, "epoch", ha="right", va="center", fontsize=9)
        for row, epoch in enumerate(epochs):
            middle = TITLE + HEADING + (row + 0.5) * CELL
            axes.text(right, middle, f"{epoch:,}", ha="right", va="center", fontsize=10)
        CELLS.plot(axes, np.concatenate(faces), MARGIN + LEFT, TITLE + HEADING, columns)


def interpolation(path: Path, title: str, faces: np.ndarray) -> None:
    """Plot in each row the faces on the way from one latent vector, on the left, to another.

    Args:
        path: the PNG file.
        title: of the sheet.
        faces: [rows, steps, H, W, C].
    """
    rows, columns = faces.shape[:2]
    with _titled_sheet(path, title, columns * CELL, rows * CELL) as axes:
        CELLS.plot(axes, np.concatenate(faces), MARGIN, TITLE, columns)


def neighbours(
    path: Path, title: str, generated: np.ndarray, nearest: np.ndarray, distances: np.ndarray
) -> None:
    """Plot generated faces, each beside its nearest training faces and their distances.

    Args:
        path: the PNG file.
        title: of the sheet.
        generated: [n, H, W, C].
        nearest: [n, k, H, W, C], unmirrored even if the mirror image is the nearer one.
        distances: [n, k].
    """
    beside = MARGIN + 1.2  # the heading is wider than a face
    width = beside - MARGIN + max(nearest.shape[1] * CELL, 2)
    with _titled_sheet(path, title, width, HEADING + len(generated) * CAPTIONED.height) as axes:
        middle, top = TITLE + HEADING / 2, TITLE + HEADING
        axes.text(MARGIN, middle, "generated", va="center", fontsize=10)
        axes.text(beside, middle, "nearest training faces", va="center", fontsize=10)
        CAPTIONED.plot(axes, generated, MARGIN, top, 1)
        labels = [f"{distance:.2f}" for distance in distances.flat]
        CAPTIONED.plot(axes, np.concatenate(nearest), beside, top, nearest.shape[1], labels)


def curves(path: Path, title: str, quantity: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Plot a quantity by epoch, from epoch 1: for each class the pale values and their moving average.

    The average is over about a twentieth of the epochs. Below 40 epochs there is none, and the values are not pale.

    Args:
        path: the PNG file.
        title: of the figure.
        quantity: what the curves show, with its unit.
        curves: by class, at least one, a value for each epoch. Lengths may differ.
    """
    longest = max(map(len, curves.values()))
    window = 2 * (longest // 40) + 1
    # A legend of many or long names needs more room.
    width = 7.8 + 0.08 * max(0, max(map(len, curves)) - 16)
    height = max(4.2, 1.2 + 0.19 * len(curves))
    with figure_file(path, width, height) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(curves.items()):
            epochs, average = range(1, len(values) + 1), moving_average(values, window)
            colour, style = COLOURS[i % len(COLOURS)], STYLES[i // len(COLOURS) % len(STYLES)]
            if window > 1:
                axes.plot(epochs, values, color=colour, linestyle=style, linewidth=0.8, alpha=0.3, zorder=1)
            axes.plot(
                epochs,
                average,
                label=name,
                color=colour,
                linestyle=style,
                linewidth=1.6,
                marker=marker(values),
            )
        epoch_axes(axes, longest)
        axes.set_ylabel(quantity)
        axes.set_title(title, fontsize=12)
        meaning = f"{quantity}\nmean of {window} epochs\npale: each epoch" if window > 1 else quantity
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
            fontsize=9,
            title=meaning,
            title_fontsize=9,
            alignment="left",
        )


@contextmanager
def _titled_sheet(path: Path, title: str, width: float, height: float) -> Iterator[Axes]:
    """Yield the axes of a sheet with a title; `width` x `height` inches are free inside the margins below it."""
    width = max(width, LETTER * len(title)) + 2 * MARGIN
    with sheet(path, width, TITLE + height + MARGIN) as axes:
        axes.text(MARGIN, TITLE / 2, title, va="center", fontsize=12, fontweight="bold")
        yield axes
