"""Figures of a training: its curves, and the faces that the network saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.figures.curves import COLOURS, epoch_axes, marker
from pipeline.figures.png import DPI, INK, figure_file
from pipeline.figures.sheet import wrapped

SPLITS = {"train": COLOURS[0], "valid": COLOURS[1]}
COLUMNS = 8  # of the sheet of faces
# Pixels: about the side of a face, and the least width of its caption; the gap between cells, the margin, a line of a
# caption, the title, the heading of a part.
SIDE, GAP, MARGIN, LINE, TITLE, HEADING = 88, 8, 16, 13, 50, 26
FONTSIZE = 7  # points, of a caption


def results(
    path: Path, title: str, history: Sequence[Mapping[str, float]], rates: Sequence[float], kept: int
) -> None:
    """Plot loss, accuracy and learning rate by epoch, each in a panel. A line marks the epoch that was kept.

    Args:
        path: the PNG file.
        title: of the figure.
        history: the figures of each epoch, such as `train/loss` and `valid/accuracy`; those that are absent have no
            curve.
        rates: the learning rate of each epoch; none: the figure has no such panel.
        kept: index of the epoch that was kept.

    Raises:
        UserError: the file cannot be written.
    """
    panels: dict[str, dict[str, Sequence[float]]] = {
        figure: {
            name: [epoch[key] for epoch in history]
            for name in SPLITS
            if (key := f"{name}/{figure}") in history[0]
        }
        for figure in ("loss", "accuracy")
    }
    if rates:
        panels["learning rate"] = {"": rates}
    with figure_file(path, 4.2 * len(panels), 3.8) as figure:
        figure.set_layout_engine("constrained")
        figure.suptitle(title, fontsize=12)
        for axes, (name, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            for split, values in curves.items():
                epochs, colour = range(1, len(values) + 1), SPLITS.get(split, COLOURS[2])
                axes.plot(epochs, values, color=colour, linewidth=1.6, marker=marker(values), label=split)
            axes.axvline(kept + 1, color=INK, linewidth=1, linestyle=":", label=f"kept: epoch {kept + 1:,}")
            axes.set_title(name, fontsize=11)
            epoch_axes(axes, len(history))
            axes.set_ylim(bottom=0)
        figure.axes[1].set_ylim(0, 1.02)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )


@dataclass(frozen=True)
class SeenFaces:
    """Faces as the network saw them.

    Attributes:
        heading: what distinguishes them from the other faces of the sheet; may be empty.
        faces: uint8 [n, S, S, C], RGB or grey (C = 1).
        captions: n texts, see `target_caption`.
    """

    heading: str
    faces: np.ndarray
    captions: Sequence[str]


def target_caption(target: np.ndarray, classes: Sequence[str]) -> str:
    """Return the names and shares of the two classes with the largest shares of a target [K], one on each line."""
    leading = np.argsort(-target, kind="stable")[:2]
    return "\n".join(f"{classes[i]} {target[i]:.2f}" for i in leading if target[i] >= 0.005)


def faces_sheet(path: Path, title: str, parts: Sequence[SeenFaces]) -> None:
    """Plot faces with their captions, row by row, one part below the other.

    A pixel of a face is a square of pixels of the PNG, all of its very colour.

    Args:
        path: the PNG file.
        title: of the sheet.
        parts: faces of one size, at least one.

    Raises:
        UserError: the file cannot be written.
    """
    side = parts[0].faces.shape[1]
    scale = max(1, round(SIDE / side))
    face, cell = scale * side, max(SIDE, scale * side) + GAP
    width, height = 2 * MARGIN + COLUMNS * cell - GAP, TITLE
    headings: list[tuple[int, str]] = []
    cells: list[tuple[int, int, np.ndarray, str]] = []
    for part in parts:
        if part.heading:
            headings.append((height, part.heading))
            height += HEADING
        captions = [wrapped(caption, (cell - GAP) / DPI, FONTSIZE) for caption in part.captions]
        row = face + 2 * GAP + LINE * max(caption.count("\n") + 1 for caption in captions)
        for i, (image, caption) in enumerate(zip(part.faces, captions, strict=True)):
            cells.append((MARGIN + i % COLUMNS * cell, height + i // COLUMNS * row, image, caption))
        height += -(-len(captions) // COLUMNS) * row
    # Half a pixel more, because matplotlib rounds a size in inches down to pixels.
    with figure_file(path, (width + 0.5) / DPI, (height + 0.5) / DPI) as figure:

        def write(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / width, 1 - y / height, text, **style)

        write(MARGIN, TITLE / 2, title, va="center", fontsize=11)
        for top, heading in headings:
            write(MARGIN, top + HEADING / 3, heading, va="center", fontsize=9)
        for left, top, image, caption in cells:
            enlarged = image.repeat(scale, 0).repeat(scale, 1)
            # Not `imshow`, which resamples.
            figure.figimage(
                np.broadcast_to(enlarged, (face, face, 3)), left, height - top - face, origin="upper"
            )
            write(left + face / 2, top + face + 3, caption, ha="center", va="top", fontsize=FONTSIZE)
