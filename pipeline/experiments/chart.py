"""Draw a comparison: a panel per score and a line per row."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.experiments import layout
from pipeline.experiments.comparison import ComparedRow, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, LINE = 4.4, 0.4  # inches: width of a panel, height of a row
NOTE = 0.14  # inches: height of a line of text below the panels


def draw(path: Path, title: str, comparison: Comparison) -> None:
    """Draw every run, mean ± standard deviation, the paper's scores and p-values, with the notes below.

    Raises:
        UserError: the file cannot be written.
    """
    from pipeline.figures.png import figure_file

    names, scores = list(comparison.states), comparison.scores
    across = min(len(scores), layout.SIDE_BY_SIDE)
    down = -(-len(scores) // across)
    width = 1.5 + PANEL * across
    notes = [line for note in layout.notes(comparison) for line in textwrap.wrap(note, int(17 * width))]
    below = 0.4 + NOTE * len(notes)
    height = below + 0.4 + down * (0.8 + LINE * len(names))
    with figure_file(path, width, height) as figure:
        figure.suptitle(_without_maths(title), fontsize=10, wrap=True)
        axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
        for axis, (key, rows) in zip(axes, scores.items(), strict=False):
            _draw_panel(axis, rows, comparison.baseline)
            axis.set_xlabel(key, fontsize=8)
        for axis in axes[len(scores) :]:
            axis.set_visible(False)
        counts = [max(len(row.values) for row in rows) for rows in zip(*scores.values(), strict=True)]
        labels = [
            f"{name} ({count})\n{state}"
            for (name, state), count in zip(comparison.states.items(), counts, strict=True)
        ]
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        axes[0].set_yticks(range(len(names)), labels)
        _draw_legend(figure, below / height, has_papers=not comparison.paper_keys.keys().isdisjoint(scores))
        figure.text(0.01, NOTE / height / 2, _without_maths("\n".join(notes)), fontsize=7, va="bottom")
        figure.tight_layout(rect=(0, below / height, 1, 1))


def _without_maths(text: str) -> str:
    """Return text that matplotlib shows as it is: between two dollars, it would expect a formula."""
    return text.replace("$", r"\$")


def _draw_panel(axis: Axes, rows: list[ComparedRow], baseline: str) -> None:
    for y, row in enumerate(rows):
        values = list(row.values.values())
        axis.scatter(values, [y] * len(values), s=12, color="#9ecae1", zorder=3)
        if (mean := row.mean()) is not None:
            axis.errorbar(mean, y, xerr=row.spread() or 0, fmt="o", color="#08519c", ms=5, capsize=3)
            if row.name == baseline:
                axis.axvline(mean, color="#cccccc", lw=0.8, zorder=0)
        if row.paper is not None:
            axis.plot(row.paper, y, "D", color="#d94801", ms=5, mfc="none")
    for column, (name, p_values) in enumerate(layout.p_value_columns(rows).items()):
        for y, text in enumerate([name, *p_values], -1):
            x, within = 1.02 + 0.22 * column, axis.get_yaxis_transform()
            axis.text(x, y, text, fontsize=7, va="center", transform=within)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="#eeeeee", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_legend(figure: Figure, bottom: float, has_papers: bool) -> None:
    from matplotlib.lines import Line2D

    marks = {
        "a run": Line2D([], [], ls="", marker="o", ms=4, color="#9ecae1"),
        "mean ± standard deviation over runs": Line2D([], [], marker="o", ms=5, color="#08519c"),
        "the baseline's mean": Line2D([], [], color="#cccccc", lw=0.8),
    }
    if has_papers:
        marks["the paper"] = Line2D([], [], ls="", marker="D", ms=5, mfc="none", color="#d94801")
    figure.legend(
        marks.values(),
        marks.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, bottom),
        ncols=len(marks),
        fontsize=7,
        frameon=False,
    )
