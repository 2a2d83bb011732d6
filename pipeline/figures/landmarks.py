"""The landmarks of a data set's faces after alignment, as a scatter plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.figures.png import INK, PALE, figure_file
from pipeline.figures.sheet import plot_image
from pipeline.tables.store import Faces

# Faces in the scatter plot and in their mean. More of them would only hide each other.
SHOWN = 4000
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
# Colours of Okabe and Ito, which colour-blind people can tell apart.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7")


def evenly_spaced(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `rows` [N] at even distances, with the first and the last."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return rows[places.round().astype(int)]


def mean_face(faces: Faces, rows: np.ndarray) -> np.ndarray:
    """Return the mean of at most `SHOWN` of the faces in `rows` (at least one): float64 [H, W, C], 0 to 1."""
    chosen = evenly_spaced(rows, SHOWN)
    total = np.zeros(faces.shape)
    for count, row in enumerate(chosen):
        total += faces[row]
        if count % 100 == 99:  # the system maps the surroundings of each face as well
            faces.release()
    return total / len(chosen) / 255


def landmark_scatter(
    path: Path,
    dataset: str,
    points: np.ndarray,
    reference: np.ndarray,
    size: int,
    mean: np.ndarray | None,
) -> None:
    """Plot the landmarks of aligned faces and the reference points that alignment moves them to.

    Args:
        path: the PNG file.
        dataset: its name.
        points: [N, 5, 2], pixels of the reference face. If N is 0, the figure says so.
        reference: [5, 2], pixels of the reference face.
        size: side of the reference face, pixels.
        mean: the mean aligned face from `mean_face`, plotted below the points, or None.

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
        shown = evenly_spaced(points, SHOWN)
        note = f"landmarks of {len(points):,} faces,\n{len(shown):,} of them drawn"
        if mean is not None:
            # Integer coordinates are centres of pixels, in the mean face and in the reference face.
            near, far = -0.5 * size / len(mean), (len(mean) - 0.5) * size / len(mean)
            plot_image(axes, mean, (near, far, far, near), interpolation="bicubic")
            axes.set(xlim=(near, far), ylim=(far, near))
            note += "\nover the mean face"
        # A few points have to be visible each; many have to show where they are dense.
        alpha = min(1, 0.25 * SHOWN / len(shown))
        medians = np.median(np.linalg.norm(points - reference, axis=2), axis=0)
        for i, name in enumerate(LANDMARKS):
            x, y = shown[:, i].T
            axes.scatter(x, y, s=3, color=COLOURS[i], alpha=alpha, linewidths=0)
            # An opaque, larger point for the legend.
            axes.scatter([], [], s=40, color=COLOURS[i], label=f"{name}: {medians[i]:.2f}")
        x, y = reference.T
        axes.scatter(x, y, s=70, marker="P", color="white", edgecolor=INK, linewidths=1, label="reference")
        figure.text(0.72, 0.9, note, fontsize=9, va="top", linespacing=1.4)
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
