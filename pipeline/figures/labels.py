"""The contact sheet of a data set: faces by label, images without a face, faces with divided votes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.landmarks import evenly_spaced
from pipeline.figures.png import PALE
from pipeline.figures.sheet import Grid, sheet, wrapped
from pipeline.intake.image import decode_ingested
from pipeline.labels.agreement import entropy, most_divided, tied
from pipeline.tables.store import Faces

COLUMNS = 10
ROWS = 2  # of images without a face; the examples have one row for each class
# Inches: a face, the gap to the next one, the column of row titles, a line of a caption, the title of a part and of
# the sheet.
FACE, GAP, LEFT, LINE, PART, TITLE = 0.8, 0.06, 1.3, 0.14, 0.5, 0.5
TITLE_SIZE = 9  # points, of a row
# Title of the examples, by the mode of `align`.
EXAMPLES = {
    "five_point": "aligned faces by label",
    "crop": "faces by label, cut out by their box",
    "none": "whole images by label: not aligned",
}
CELLS = Grid(FACE, FACE + GAP, FACE + GAP, caption_gap=0.03, fontsize=7)


@dataclass(frozen=True)
class SheetRow:
    """One row of images. The title has at most five lines."""

    title: str
    images: Sequence[np.ndarray]  # uint8, H x W x C, RGB or grey (C = 1)
    captions: Sequence[str]  # none, or one for each image

    @property
    def height(self) -> float:
        """Height of the images and the captions, inches."""
        lines = max((caption.count("\n") + 1 for caption in self.captions), default=0)
        return CELLS.height + lines * LINE + (GAP if lines else 0)


@dataclass(frozen=True)
class SheetPart:
    """A titled part of a contact sheet. If it has no rows, `empty` says why."""

    title: str
    rows: Sequence[SheetRow]
    empty: str

    @property
    def height(self) -> float:
        """Height with the title, inches."""
        return PART + (sum(row.height for row in self.rows) or FACE / 2)


def contact_sheet(
    path: Path,
    dataset: str,
    faces: Faces,
    labels: np.ndarray,
    votes: np.ndarray,
    vocabulary: Sequence[str],
    classes: Sequence[str],
    mode: str,
    images: Callable[[list[int]], Iterable[bytes]],
) -> None:
    """Plot examples of each class, images without a detected face, and faces with divided votes.

    Args:
        path: the PNG file.
        dataset: its name.
        faces: the aligned table, N rows.
        labels: class names, [N]; "" for images that are no samples.
        votes: int [N, V]; zeros for images with a single label.
        vocabulary: V names in the order of the votes.
        classes: names in label order.
        mode: of `align` for this data set: `five_point`, `crop` or `none`.
        images: returns the encoded images of some rows of the table; called only for rows on the sheet.

    Raises:
        UserError: an image on the sheet cannot be decoded, or the file cannot be written.
    """
    status = faces.table["status"].to_numpy()
    usable = np.flatnonzero(status == ("whole" if mode == "none" else "found"))
    parts = [
        _examples(faces, labels, usable, classes, mode),
        _not_found(faces, status, mode, images),
        _disputed(faces, votes, vocabulary, usable),
    ]
    width = LEFT + COLUMNS * CELLS.width + GAP
    with sheet(path, width, TITLE + sum(part.height for part in parts) + 2 * GAP) as axes:
        title = f"{dataset}: {len(faces):,} images"
        axes.text(2 * GAP, TITLE / 2, title, va="center", fontsize=14, fontweight="bold")
        top = TITLE
        for part in parts:
            axes.plot([2 * GAP, width - GAP], [top + 0.06] * 2, color=PALE, linewidth=0.8)
            _plot_part(axes, part, top)
            top += part.height


def _examples(
    faces: Faces, labels: np.ndarray, usable: np.ndarray, classes: Sequence[str], mode: str
) -> SheetPart:
    rows = []
    for name in classes:
        of_class = usable[labels[usable] == name]
        if len(of_class):
            chosen = [faces[i] for i in evenly_spaced(of_class, COLUMNS)]
            title = wrapped(name, LEFT - 3 * GAP, TITLE_SIZE)
            rows.append(SheetRow(f"{title}\n{len(of_class):,}", chosen, []))
    return SheetPart(EXAMPLES[mode], rows, "no labelled image has a face")


def _not_found(
    faces: Faces, status: np.ndarray, mode: str, images: Callable[[list[int]], Iterable[bytes]]
) -> SheetPart:
    missed = np.flatnonzero(status != "found")
    if mode == "none":
        return SheetPart("no face found", [], "not looked for: not aligned")
    if not len(missed):
        return SheetPart("no face found", [], f"0 of {len(faces):,}: every image has a face")
    chosen = evenly_spaced(missed, ROWS * COLUMNS).tolist()
    names = faces.table["id"].take(chosen).to_pylist()
    thumbnails = [thumbnail(name, image) for name, image in zip(names, images(chosen), strict=True)]
    # The id ends in the name of the file. The end of a long name says more than its beginning.
    captions = [short if len(short := name.split("/")[-1]) <= 14 else f"…{short[-13:]}" for name in names]
    rows = [
        SheetRow("", thumbnails[i : i + COLUMNS], captions[i : i + COLUMNS])
        for i in range(0, len(chosen), COLUMNS)
    ]
    counts = f"{len(missed):,} of {len(faces):,}\n{len(missed) / len(faces):.2%}"
    fate = "dropped" if "missing" in status else "the box or the whole image stands in"
    return SheetPart(f"no face found: {fate}", [replace(rows[0], title=counts), *rows[1:]], "")


def _disputed(faces: Faces, votes: np.ndarray, vocabulary: Sequence[str], usable: np.ndarray) -> SheetPart:
    divided, ties = most_divided(votes, usable, COLUMNS), tied(votes, usable)
    rows = []
    if len(divided):
        most, least = entropy(votes[divided[[0, -1]]])
        title = f"most divided\n{most:.2f} to {least:.2f} bits"
        rows.append(_row_with_votes(title, faces, votes, vocabulary, divided))
    if len(ties):
        rows.append(_row_with_votes(f"ties\n{len(ties):,}", faces, votes, vocabulary, ties[:COLUMNS]))
    empty = "none: all votes for a face are for the same" if votes[usable].any() else "no votes"
    return SheetPart("faces in dispute", rows, empty)


def _row_with_votes(
    title: str, faces: Faces, votes: np.ndarray, vocabulary: Sequence[str], rows: np.ndarray
) -> SheetRow:
    """Return a row of faces, captioned with the two entries that have most votes."""
    leading = np.argsort(-votes[rows], axis=1, kind="stable")[:, :2]
    captions = [
        "\n".join(wrapped(f"{vocabulary[i]} {votes[row, i]}", FACE, CELLS.fontsize) for i in pair)
        for row, pair in zip(rows, leading, strict=True)
    ]
    return SheetRow(title, [faces[row] for row in rows], captions)


def thumbnail(name: str, image: bytes) -> np.ndarray:
    """Return an encoded image as RGB, uint8, H x W x 3, its longer side at most 128 pixels.

    Raises:
        UserError: the bytes are no image.
    """
    pixels = decode_ingested(name, image)
    height, width = pixels.shape[:2]
    if (scale := 128 / max(height, width)) < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _plot_part(axes: Axes, part: SheetPart, top: float) -> None:
    axes.text(2 * GAP, top + 0.26, part.title, va="center", fontsize=11, fontweight="bold")
    top += PART
    if not part.rows:
        axes.text(LEFT, top + FACE / 8, part.empty, va="center", fontsize=10, color=PALE)
    for row in part.rows:
        middle = top + FACE / 2
        axes.text(LEFT - 2 * GAP, middle, row.title, ha="right", va="center", fontsize=TITLE_SIZE)
        CELLS.plot(axes, row.images, LEFT, top, COLUMNS, row.captions)
        top += row.height
