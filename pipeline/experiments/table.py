"""Write a comparison for people and programs: Markdown, CSV or a chart."""

from __future__ import annotations

import csv
import io
import textwrap
from pathlib import Path

from tabulate import tabulate

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.experiments.comparison import LEVEL, ComparedRow, Comparison
from pipeline.experiments.significance import RESAMPLES

SUFFIXES = (".md", ".csv", ".png")
WIDTH = 120  # characters in a line of text above the tables


def check_suffix(path: Path) -> None:
    """Reject a file name that does not end in one of `SUFFIXES`.

    Raises:
        UserError: the name ends in something else.
    """
    if path.suffix not in SUFFIXES:
        raise UserError.of("--output", path, f"a file that ends in {', '.join(SUFFIXES)}")


def write(path: Path, title: str, comparison: Comparison) -> None:
    """Write a comparison in the format that the file's suffix names.

    Raises:
        UserError: the suffix names no format, or the file cannot be written.
    """
    check_suffix(path)
    if path.suffix == ".png":
        _draw_chart(path, title, comparison)
        return
    text = csv_text(comparison) if path.suffix == ".csv" else markdown(title, comparison)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def markdown(title: str, comparison: Comparison) -> str:
    """Return a text that explains the columns, then a table for each score."""
    parts = [f"{title}\n\n{textwrap.fill(_explanation(comparison), WIDTH)}\n"]
    for key, rows in comparison.scores.items():
        table = {
            "row": [row.name for row in rows],
            "seeds": [str(len(row.values)) for row in rows],
            "ours": [_mean_and_spread(row) for row in rows],
            "paper": [_number(row.paper) for row in rows],
            f"difference from {comparison.baseline}": [_difference(row) for row in rows],
            "McNemar p": [_p_value(row.mcnemar_p) for row in rows],
            "bootstrap p": [_p_value(row.bootstrap_p) for row in rows],
        }
        if all(row.mcnemar_p is None for row in rows):
            del table["McNemar p"]
        parts.append(f"**{key}**\n\n{tabulate(table, 'keys', tablefmt='github', disable_numparse=True)}\n")
    if comparison.notes:
        parts.append("".join(f"- {note}\n" for note in comparison.notes))
    return "\n".join(parts)


def csv_text(comparison: Comparison) -> str:
    """Return one line for each score and row, in full precision. Unknown values are empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["score", "row", "seeds", "mean", "std", "paper", "baseline", "pairs", "difference", "low", "high"]
        + ["mcnemar_p", "bootstrap_p", "images"]
    )
    for key, rows in comparison.scores.items():
        for row in rows:
            figures = [len(row.values), row.mean(), row.spread(), row.paper, comparison.baseline]
            difference = row.difference or [None] * 4
            p_values = [row.mcnemar_p, row.bootstrap_p]
            table.writerow([key, row.name, *figures, *difference, *p_values, comparison.images])
    return text.getvalue()


def _draw_chart(path: Path, title: str, comparison: Comparison) -> None:
    """Draw a panel for each score.

    Each row of the table has its own height in the panel: a dot for each run, mean ± standard deviation, the paper's
    score and the p-values.
    """
    from pipeline.figures.png import figure_file

    count = len(next(iter(comparison.scores.values())))
    with figure_file(path, 1.5 + 4.4 * len(comparison.scores), 1.6 + 0.34 * count) as figure:
        figure.suptitle(title, fontsize=10, wrap=True)
        axes = figure.subplots(1, len(comparison.scores), sharey=True, squeeze=False)[0]
        for axis, (key, rows) in zip(axes, comparison.scores.items(), strict=True):
            for y, row in enumerate(rows):
                values = list(row.values.values())
                axis.scatter(values, [y] * len(values), s=12, color="#9ecae1", zorder=3)
                if values:
                    axis.errorbar(
                        row.mean(), y, xerr=row.spread() or 0, fmt="o", color="#08519c", ms=5, capsize=3
                    )
                if row.paper is not None:
                    axis.plot(row.paper, y, "D", color="#d94801", ms=5, mfc="none")
                if row.name == comparison.baseline and values:
                    axis.axvline(row.mean(), color="#cccccc", lw=0.8, zorder=0)
            p_values = {
                "McNemar p": [row.mcnemar_p for row in rows],
                "bootstrap p": [row.bootstrap_p for row in rows],
            }
            columns = [[name, *map(_p_value, ps)] for name, ps in p_values.items() if set(ps) != {None}]
            for column, texts in enumerate(columns):
                for y, text in enumerate(texts, -1):
                    x, within = 1.02 + 0.2 * column, axis.get_yaxis_transform()
                    axis.text(x, y, text, fontsize=7, va="center", transform=within)
            axis.set_ylim(-0.6, count - 0.4)
            axis.set_yticks(range(count), [f"{row.name} ({len(row.values)})" for row in rows], fontsize=8)
            axis.set_xlabel(key, fontsize=8)
            axis.tick_params(axis="x", labelsize=8)
            axis.grid(axis="x", color="#eeeeee", lw=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].invert_yaxis()
        _draw_legend(figure)
        figure.tight_layout(rect=(0, 0.06, 1, 1))


def _draw_legend(figure) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.lines import Line2D

    marks = {
        "a run": Line2D([], [], ls="", marker="o", ms=4, color="#9ecae1"),
        "mean ± standard deviation (runs)": Line2D([], [], marker="o", ms=5, color="#08519c"),
        "the paper": Line2D([], [], ls="", marker="D", ms=5, mfc="none", color="#d94801"),
        "the baseline's mean": Line2D([], [], color="#cccccc", lw=0.8),
    }
    figure.legend(
        marks.values(), marks.keys(), loc="lower center", ncols=len(marks), fontsize=7, frameon=False
    )


def _explanation(comparison: Comparison) -> str:
    baseline = comparison.baseline
    text = (
        "ours: mean ± standard deviation over seeds. "
        f"difference from {baseline}: mean of (row - {baseline}) over the seeds that both have finished, with its "
        f"{LEVEL:.0%} interval (Student's t); * marks an interval that excludes 0."
    )
    if not comparison.images:
        return (
            f"{text} There are no p-values, because no row has predictions for a seed for which {baseline} has them "
            "too."
        )
    pairs = [row.difference.pairs for rows in comparison.scores.values() for row in rows if row.difference]
    mcnemar = "McNemar's exact test"
    if max(pairs, default=0) > 1:
        mcnemar += (
            " (with several seeds, a permutation test on the number of seeds with which each row classifies an image "
            "correctly)"
        )
    return (
        f"{text} P-values: two-sided, against {baseline}, on the {comparison.images} images of {comparison.split}. "
        f"They come from {mcnemar} and from a paired bootstrap with {RESAMPLES:,} resamples of the images. The "
        f"smallest p that the bootstrap can give is {2 / (RESAMPLES + 1):.4f}. The p-values cover the choice of "
        "images, not of seeds, and are not corrected for the number of rows."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _mean_and_spread(row: ComparedRow) -> str:
    spread = row.spread()
    return _number(row.mean()) + ("" if spread is None else f" ± {spread:.4f}")


def _difference(row: ComparedRow) -> str:
    if row.difference is None or row.difference.mean is None:
        return "-"
    count, mean, low, high = row.difference
    interval = "[-]" if low is None else f"[{low:+.4f}, {high:+.4f}]"
    pairs = "" if count == len(row.values) else f" ({count} pairs)"
    return f"{mean:+.4f} {interval}{' *' if row.difference.is_clear() else ''}{pairs}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
