"""What a data set looks like: a contact sheet of its faces, and where their landmarks lie after alignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.png import INK, figure_file
from pipeline.intake.image import decode_ingested
from pipeline.labels.agreement import entropy, most_divided, tied
from pipeline.tables.store import Faces
from pipeline.tables.vocabulary import VOTES

COLUMNS = 10
ROWS = 2  # of pictures without a face; the examples have one for each class
# Inches: the column of row titles, a picture and the gap to the next, a line of a caption, titles.
LEFT, FACE, GAP, LINE, PART, TITLE = 1.3, 0.8, 0.06, 0.14, 0.5, 0.5
PALE = "#777777"

# Faces whose landmarks are drawn, and whose mean lies beneath: more of them only hide each other.
DRAWN = 4000
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
# Okabe and Ito's colours, told apart by the colour-blind.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7")


@dataclass(frozen=True)
class Row:
    """Pictures beside each other: a title of one or two lines, and for each picture its caption."""

    title: str
    pictures: Sequence[np.ndarray]  # uint8, H x W x C, RGB or grey (C = 1)
    captions: Sequence[str]


@dataclass(frozen=True)
class Part:
    """A titled part of a contact sheet; where it has no rows, `empty` says why."""

    title: str
    rows: Sequence[Row]
    empty: str


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `rows` [N], the first, the last and others evenly between."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return rows[places.round().astype(int)]


def contact_sheet(
    path: Path,
    dataset: str,
    faces: Faces,
    labels: np.ndarray,
    votes: np.ndarray,
    classes: Sequence[str],
    searched: bool,
    images: Callable[[list[int]], list[bytes]],
) -> None:
    """Draw examples of each class, pictures in which no face was found, and faces whose votes are divided.

    Args:
        path: the PNG file.
        dataset: its name.
        faces: the aligned table, of N rows.
        labels: class names, [N]; "" where a picture is no sample.
        votes: int [N, 10] in the order of `schema.VOTES`; zeros where a picture has a single label.
        classes: names in label order.
        searched: whether faces were looked for (`align.mode` is not `none`).
        images: returns the encoded pictures of rows of the table; asked for those that are shown.

    Raises:
        UserError: a picture that is shown cannot be decoded, or the file cannot be written.
    """
    status = faces.table["status"].to_numpy()
    shown = np.flatnonzero(status == ("found" if searched else "whole"))
    parts = [
        _examples(faces, labels, shown, classes, searched),
        _not_found(faces, status, searched, images),
        _disputed(faces, votes, shown),
    ]
    _draw(path, f"{dataset}: {len(faces):,} pictures", parts)


def _examples(
    faces: Faces, labels: np.ndarray, shown: np.ndarray, classes: Sequence[str], searched: bool
) -> Part:
    rows = []
    for name in classes:
        of_class = shown[labels[shown] == name]
        chosen = [faces[i] for i in spread(of_class, COLUMNS)]
        if chosen:
            rows.append(Row(f"{name}\n{len(of_class):,}", chosen, [""] * len(chosen)))
    title = "aligned faces by label" if searched else "whole pictures by label: align.mode is none"
    return Part(title, rows, "no face has a label")


def _not_found(
    faces: Faces, status: np.ndarray, searched: bool, images: Callable[[list[int]], list[bytes]]
) -> Part:
    missed = np.flatnonzero(status != "found")
    if not searched:
        return Part("no face found", [], "not looked for: align.mode is none")
    if not len(missed):
        return Part("no face found", [], f"0 of {len(faces):,}: every picture has a face")
    chosen = spread(missed, ROWS * COLUMNS).tolist()
    names = faces.table["id"].take(chosen).to_pylist()
    pictures = [thumbnail(name, image) for name, image in zip(names, images(chosen), strict=True)]
    # The id ends in the file's name, of which the end says more than the beginning.
    captions = [short if len(short := name.split("/")[-1]) <= 14 else f"…{short[-13:]}" for name in names]
    rows = [
        Row("", pictures[i : i + COLUMNS], captions[i : i + COLUMNS]) for i in range(0, len(chosen), COLUMNS)
    ]
    counts = f"{len(missed):,} of {len(faces):,}\n{len(missed) / len(faces):.2%}"
    fate = "dropped" if "missing" in status else "the whole picture stands in"
    return Part(f"no face found: {fate}", [replace(rows[0], title=counts), *rows[1:]], "")


def _disputed(faces: Faces, votes: np.ndarray, shown: np.ndarray) -> Part:
    divided, ties = most_divided(votes, shown, COLUMNS), tied(votes, shown)
    rows = []
    if len(divided):
        most, least = entropy(votes[divided[[0, -1]]])
        rows.append(_voted(f"most divided\n{most:.2f} to {least:.2f} bits", faces, votes, divided))
    if len(ties):
        rows.append(_voted(f"ties\n{len(ties):,}", faces, votes, ties[:COLUMNS]))
    empty = "none: all votes for a face are for the same" if votes[shown].any() else "no votes"
    return Part("faces in dispute", rows, empty)


def _voted(title: str, faces: Faces, votes: np.ndarray, rows: np.ndarray) -> Row:
    """Return faces with their two front runners."""
    front = np.argsort(-votes[rows], axis=1, kind="stable")[:, :2]
    captions = [
        "\n".join(f"{VOTES[i]} {votes[row, i]}" for i in pair) for row, pair in zip(rows, front, strict=True)
    ]
    return Row(title, [faces[row] for row in rows], captions)


def thumbnail(name: str, image: bytes) -> np.ndarray:
    """Return an encoded picture as RGB, uint8, H x W x 3, its longer side at most 128 pixels.

    Raises:
        UserError: the bytes are no image.
    """
    picture = decode_ingested(name, image)
    height, width = picture.shape[:2]
    if (scale := 128 / max(height, width)) < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _draw(path: Path, title: str, parts: Sequence[Part]) -> None:
    """Draw the parts below each other, in one set of axes whose units are inches from the top left."""
    width = LEFT + COLUMNS * (FACE + GAP) + GAP
    height = TITLE + sum(PART + (sum(map(_height, part.rows)) or FACE / 2) for part in parts) + 2 * GAP
    with figure_file(path, width, height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.text(2 * GAP, TITLE / 2, title, va="center", fontsize=14, fontweight="bold")
        top = TITLE
        for part in parts:
            axes.plot([2 * GAP, width - GAP], [top + 0.06] * 2, color=PALE, linewidth=0.8)
            axes.text(2 * GAP, top + 0.26, part.title, va="center", fontsize=11, fontweight="bold")
            top += PART
            if not part.rows:
                axes.text(LEFT, top + FACE / 8, part.empty, va="center", fontsize=10, color=PALE)
                top += FACE / 2
            for row in part.rows:
                _draw_row(axes, row, top)
                top += _height(row)
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")


def _height(row: Row) -> float:
    lines = max(caption.count("\n") + 1 if caption else 0 for caption in row.captions)
    return FACE + GAP + lines * LINE + (GAP if lines else 0)


def _draw_row(axes: Axes, row: Row, top: float) -> None:
    axes.text(LEFT - 2 * GAP, top + FACE / 2, row.title, ha="right", va="center", fontsize=9)
    for column, (picture, caption) in enumerate(zip(row.pictures, row.captions, strict=True)):
        left = LEFT + column * (FACE + GAP)
        # A picture that is not square lies in the middle of its cell.
        sides = np.array(picture.shape[:2]) * FACE / max(picture.shape[:2])
        y, x = top + (FACE - sides[0]) / 2, left + (FACE - sides[1]) / 2
        rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
        axes.imshow(rgb, extent=(x, x + sides[1], y + sides[0], y))
        axes.text(left + FACE / 2, top + FACE + 0.03, caption, ha="center", va="top", fontsize=7)


def mean_face(faces: Faces, rows: np.ndarray) -> np.ndarray:
    """Return the mean of the faces in `rows`, at least one, of at most `DRAWN`: float64 H x W x C, 0 to 1."""
    chosen = spread(rows, DRAWN)
    total = np.zeros(faces.shape)
    for row in chosen:
        total += faces[row]
    return total / len(chosen) / 255


def landmark_scatter(
    path: Path,
    dataset: str,
    points: np.ndarray,
    reference: np.ndarray,
    size: int,
    mean: np.ndarray | None,
) -> None:
    """Draw where the landmarks of a data set's faces lie after alignment, and the points they are taken to.

    Args:
        path: the PNG file.
        dataset: its name.
        points: [N, 5, 2] in pixels of the reference face; none is a figure that says so.
        reference: [5, 2], the same.
        size: side of the reference face, pixels.
        mean: the mean aligned face, which lies beneath, as `mean_face` returns it; None: nothing.

    Raises:
        UserError: the file cannot be written.
    """
    with figure_file(path, 8.6, 6) as figure:
        axes = figure.add_axes((0.1 / 8.6, 0.1 / 6, 5.8 / 8.6, 5.8 / 6))
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xticks=[], yticks=[], facecolor="#DDDDDD")
        axes.spines[:].set_visible(False)
        figure.text(0.72, 0.94, dataset, fontsize=14, fontweight="bold", va="center")
        if not len(points):
            axes.text(size / 2, size / 2, "no landmarks", ha="center", va="center", fontsize=14, color=PALE)
            figure.text(0.72, 0.88, "no face found, or none looked for", fontsize=9, va="center")
            return
        some = spread(np.arange(len(points)), DRAWN)
        if mean is not None:
            _draw_mean(axes, mean, size)
        # Few points must be seen, many must show where they crowd.
        alpha = min(1, 0.25 * DRAWN / len(some))
        medians = np.median(np.linalg.norm(points - reference, axis=2), axis=0)
        for i, name in enumerate(LANDMARKS):
            axes.scatter(
                points[some, i, 0], points[some, i, 1], s=3, color=COLOURS[i], alpha=alpha, linewidths=0
            )
            # Drawn apart for the legend, where a point must be seen.
            axes.scatter([], [], s=40, color=COLOURS[i], label=f"{name}: {medians[i]:.2f}")
        axes.scatter(
            reference[:, 0],
            reference[:, 1],
            s=70,
            marker="P",
            color="white",
            edgecolor=INK,
            linewidths=1,
            label="reference",
        )
        told = f"landmarks of {len(points):,} faces,\n{len(some):,} of them drawn"
        told += "\nover the mean face" if mean is not None else ""
        figure.text(0.72, 0.9, told, fontsize=9, va="top", linespacing=1.4)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0.72, 0.76),
            borderpad=0,
            borderaxespad=0,
            bbox_transform=figure.transFigure,
            frameon=False,
            fontsize=9,
            alignment="left",
            title=f"median distance from the\nreference, pixels of {size}",
            title_fontsize=9,
            labelspacing=0.7,
        )


def _draw_mean(axes: Axes, mean: np.ndarray, size: int) -> None:
    # Whole coordinates are centres of pixels, in the mean as in the reference.
    zoom = size / len(mean)
    near, far = -0.5 * zoom, (len(mean) - 0.5) * zoom
    rgb = np.broadcast_to(mean, (*mean.shape[:2], 3))
    axes.imshow(rgb, extent=(near, far, far, near), interpolation="bicubic")
    axes.set(xlim=(near, far), ylim=(far, near))
