"""What synthetic faces look like: beside real ones, as training goes on, between each other, and as curves.

Faces are uint8, RGB or grey (C = 1); `path` is a PNG file. All raise UserError where it cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.figures.png import figure_file

SIDE = 8  # faces of each half of the sheet that compares, each way
# Inches: width of a face with the gap to the next, the gap, margin, column of row titles, line of a caption, titles.
CELL, GAP, MARGIN, LEFT, LINE, HEADING, TITLE = 0.75, 0.04, 0.15, 0.55, 0.2, 0.28, 0.5
LETTER = 0.1  # width of a letter of a title, so that none is cut off
# Okabe and Ito's colours, told apart by the colour-blind.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A800")


def real_beside_generated(path: Path, title: str, real: np.ndarray, generated: np.ndarray) -> None:
    """Draw the first 64 real faces on the left and the first 64 generated ones on the right.

    Args:
        path: the PNG file.
        title: of the sheet.
        real: [N, H, W, C]; where there are fewer than 64, the rest is white.
        generated: [M, H, W, C], the same.
    """
    halves = {"real": _square(real), "generated": _square(generated)}
    across, down = _extent(halves["real"])
    with _sheet(path, title, 2 * across + LEFT, down + HEADING) as axes:
        for i, (heading, faces) in enumerate(halves.items()):
            left = MARGIN + i * (across + LEFT)
            axes.text(left, TITLE + HEADING / 2, heading, va="center", fontsize=11)
            _tiles(axes, faces, left, TITLE + HEADING)


def by_epoch(path: Path, title: str, epochs: Sequence[int], faces: np.ndarray) -> None:
    """Draw the faces of the same latent vectors as training goes on: a row for each epoch, the first on top.

    Args:
        path: the PNG file.
        title: of the sheet.
        epochs: E numbers.
        faces: [E, n, H, W, C].
    """
    across, down = _extent(faces)
    with _sheet(path, title, LEFT + across, HEADING + down) as axes:
        right = MARGIN + LEFT - 2 * GAP
        axes.text(right, TITLE + HEADING / 2, "epoch", ha="right", va="center", fontsize=9)
        for row, epoch in enumerate(epochs):
            middle = TITLE + HEADING + (row + 0.5) * down / len(epochs)
            axes.text(right, middle, f"{epoch:,}", ha="right", va="center", fontsize=10)
        _tiles(axes, faces, MARGIN + LEFT, TITLE + HEADING)


def interpolation(path: Path, title: str, faces: np.ndarray) -> None:
    """Draw the faces on the way from one latent vector, on the left, to another, in each row.

    Args:
        path: the PNG file.
        title: of the sheet.
        faces: [rows, steps, H, W, C].
    """
    with _sheet(path, title, *_extent(faces)) as axes:
        _tiles(axes, faces, MARGIN, TITLE)


def neighbours(
    path: Path, title: str, generated: np.ndarray, nearest: np.ndarray, distances: np.ndarray
) -> None:
    """Draw generated faces, and beside each the nearest training faces with their distances.

    Args:
        path: the PNG file.
        title: of the sheet.
        generated: [n, H, W, C].
        nearest: [n, k, H, W, C], as they are in the training set even where the mirror image is the nearer one.
        distances: [n, k].
    """
    across, tall = _extent(nearest[:1])
    down = tall + LINE
    beside = MARGIN + 1.2  # the heading is wider than a face
    width = beside - MARGIN + max(across, 2)
    with _sheet(path, title, width, HEADING + len(generated) * down) as axes:
        middle = TITLE + HEADING / 2
        axes.text(MARGIN, middle, "generated", va="center", fontsize=10)
        axes.text(beside, middle, "nearest training faces", va="center", fontsize=10)
        for i, row in enumerate(distances):
            top = TITLE + HEADING + i * down
            _tiles(axes, generated[i : i + 1, None], MARGIN, top)
            _tiles(axes, nearest[i : i + 1], beside, top)
            for j, distance in enumerate(row):
                centre = beside + j * CELL + (CELL - GAP) / 2
                axes.text(centre, top + tall, f"{distance:.2f}", ha="center", va="top", fontsize=8)


def curves(path: Path, title: str, ylabel: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw one line for each class over the epochs, from epoch 1.

    Args:
        path: the PNG file.
        title: of the figure.
        ylabel: what the lines show, with its unit.
        curves: a value for each epoch, by class, at least one; a line may be shorter than others.
    """
    with figure_file(path, 7.4, 4.2) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(curves.items()):
            # One epoch is a point, which a line does not show.
            marker = "o" if len(values) == 1 else None
            colour, style = COLOURS[i % len(COLOURS)], "-" if i < len(COLOURS) else "--"
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, label=name, color=colour, linestyle=style, linewidth=1.4, marker=marker)
        longest = max(map(len, curves.values()))
        axes.set(xlabel="epoch", ylabel=ylabel, xlim=(0.5, longest + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.grid(color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, fontsize=12)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)


@contextmanager
def _sheet(path: Path, title: str, width: float, height: float) -> Iterator[Axes]:
    """Yield axes whose units are inches from the top left, `width` x `height` inside the margins below the title."""
    width = max(width, LETTER * len(title)) + 2 * MARGIN
    height += TITLE + MARGIN
    with figure_file(path, width, height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.text(MARGIN, TITLE / 2, title, va="center", fontsize=12, fontweight="bold")
        yield axes
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")


def _square(faces: np.ndarray) -> np.ndarray:
    """Return the first faces as [SIDE, SIDE, H, W, C], white where there are too few."""
    cells = np.full((SIDE**2, *faces.shape[1:]), 255, np.uint8)
    shown = faces[: SIDE**2]
    cells[: len(shown)] = shown
    return cells.reshape(SIDE, SIDE, *faces.shape[1:])


def _extent(faces: np.ndarray) -> tuple[float, float]:
    """Return the width and the height of rows of faces, [rows, columns, H, W, C], in inches."""
    rows, columns, height, width, _ = faces.shape
    return columns * CELL, rows * (GAP + (CELL - GAP) * height / width)


def _tiles(axes: Axes, faces: np.ndarray, left: float, top: float) -> None:
    """Draw rows of faces, [rows, columns, H, W, C]."""
    tall = (CELL - GAP) * faces.shape[2] / faces.shape[3]
    for (row, column), face in zip(
        np.ndindex(faces.shape[:2]), faces.reshape(-1, *faces.shape[2:]), strict=True
    ):
        x, y = left + column * CELL, top + row * (tall + GAP)
        rgb = np.broadcast_to(face, (*face.shape[:2], 3))
        axes.imshow(rgb, extent=(x, x + CELL - GAP, y + tall, y))
