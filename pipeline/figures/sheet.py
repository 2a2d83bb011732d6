"""Sheets of images, laid out in inches from the top left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from pipeline.figures.png import figure_file

TITLE, LINE = 0.45, 0.15  # inches: height of a title, and of a line of a caption


@contextmanager
def sheet(path: Path, width: float, height: float) -> Iterator[Axes]:
    """Yield the axes of a sheet that is written to `path`, a PNG. Their units are inches from the top left.

    Raises:
        UserError: the file cannot be written.
    """
    with figure_file(path, width, height) as figure:
        # All images share the axes: with axes for each image a sheet takes three times as long.
        axes = figure.add_axes((0, 0, 1, 1))
        yield axes
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")


@dataclass(frozen=True)
class Grid:
    """Cells of a sheet, each with an image and room for a caption below it. Lengths are inches.

    Attributes:
        side: the longer side of an image.
        width: of a cell, with the gap to the next one.
        height: of a cell, with its caption.
        caption_gap: between a square image and its caption.
        fontsize: of the captions, points.
    """

    side: float
    width: float
    height: float
    caption_gap: float = 0.04
    fontsize: float = 8

    def plot(
        self,
        axes: Axes,
        images: Sequence[np.ndarray] | np.ndarray,
        left: float,
        top: float,
        columns: int,
        captions: Sequence[str] = (),
    ) -> None:
        """Plot images row by row, undistorted and centred on a square of `side` inches.

        Args:
            axes: of the sheet.
            images: [H, W, C] each; uint8 or 0 to 1, RGB or grey (C = 1).
            left: of the first cell.
            top: of the first cell.
            columns: cells in a row.
            captions: one for each image, or none.
        """
        for i, image in enumerate(images):
            row, column = divmod(i, columns)
            x, y = left + column * self.width, top + row * self.height
            height, width = np.array(image.shape[:2]) * self.side / max(image.shape[:2])
            image_x, image_y = x + (self.side - width) / 2, y + (self.side - height) / 2
            plot_image(axes, image, (image_x, image_x + width, image_y + height, image_y))
            if captions:
                caption_x, caption_y = x + self.side / 2, y + self.side + self.caption_gap
                size = self.fontsize
                axes.text(caption_x, caption_y, captions[i], ha="center", va="top", fontsize=size)


def captioned_sheet(
    path: Path, title: str, faces: np.ndarray, captions: Sequence[str], columns: int, cells: Grid
) -> None:
    """Plot faces with their captions below a title, row by row in the order given.

    Args:
        path: the PNG file.
        title: of the sheet.
        faces: uint8 [M, H, H, C], RGB or grey (C = 1); M may be 0.
        captions: M, of two lines each; longer lines are wrapped.
        columns: faces in a row.
        cells: of the faces, with room for two lines.

    Raises:
        UserError: the file cannot be written.
    """
    captions = [wrapped(caption, cells.side, cells.fontsize) for caption in captions]
    more = max([0, *(caption.count("\n") - 1 for caption in captions)])
    cells = replace(cells, height=cells.height + more * LINE)
    width, height = columns * cells.width, TITLE + cells.height * -(-len(faces) // columns)
    with sheet(path, width, height) as axes:
        axes.text(width / 2, TITLE / 2, title, ha="center", va="center", fontsize=12)
        cells.plot(axes, faces, (cells.width - cells.side) / 2, TITLE, columns, captions)


def wrapped(text: str, width: float, fontsize: float) -> str:
    """Return text in lines of at most `width` inches, which end behind a space, `_` or `-`, or in a longer word."""
    lines = []
    for line in text.split("\n"):
        rest = ""
        for word in re.findall(r"[^ _-]*[ _-]*", line):
            if rest and not _fits(rest + word, width, fontsize):
                lines.append(rest.rstrip())
                rest = ""
            rest += word
            while not _fits(rest, width, fontsize):
                count = next((n for n in range(len(rest) - 1, 1, -1) if _fits(rest[:n], width, fontsize)), 1)
                lines.append(rest[:count])
                rest = rest[count:]
        lines.append(rest.rstrip())
    return "\n".join(lines)


def _fits(text: str, width: float, fontsize: float) -> bool:
    # By name, because a user's settings may name another font.
    font = FontProperties("DejaVu Sans", size=fontsize)
    points, _, _ = text_to_path.get_text_width_height_descent(text.rstrip(), font, ismath=False)
    return len(text) < 2 or points <= 72 * width


def plot_image(
    axes: Axes,
    image: np.ndarray,
    extent: tuple[float, float, float, float],
    interpolation: str | None = None,
) -> None:
    """Plot an RGB or grey image, [H, W, C], from left, right, bottom and top in the units of the axes."""
    axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)), extent=extent, interpolation=interpolation)
