"""A comparison as people read it: Markdown, CSV for other programs, and a chart."""

from __future__ import annotations

import csv
import io
import textwrap
from pathlib import Path

from tabulate import tabulate

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.experiments.comparison import LEVEL, Comparison, Line
from pipeline.experiments.significance import RESAMPLES

KINDS = (".md", ".csv", ".png")
WIDTH = 120  # letters in a line of the sentences above a table


def check_kind(path: Path) -> None:
    """Refuse a file whose ending names none of `KINDS`.

    Raises:
        UserError: it does not.
    """
    if path.suffix not in KINDS:
        raise UserError.of("--output", path, f"a file that ends in {', '.join(KINDS)}")


def write(path: Path, title: str, comparison: Comparison) -> None:
    """Write a table in the form that the file's ending names.

    Raises:
        UserError: it names none, or the file cannot be written.
    """
    check_kind(path)
    if path.suffix == ".png":
        chart(path, title, comparison)
        return
    text = as_csv(comparison) if path.suffix == ".csv" else markdown(title, comparison)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def markdown(title: str, comparison: Comparison) -> str:
    """Return a table for each score, and the sentences that say what its figures are."""
    parts = [f"{title}\n\n{textwrap.fill(_explained(comparison), WIDTH)}\n"]
    for key, lines in comparison.scores.items():
        columns = [
            "row",
            "seeds",
            "ours",
            "paper",
            f"minus {comparison.baseline}",
            "McNemar p",
            "bootstrap p",
        ]
        cells = [
            [
                line.row,
                str(len(line.values)),
                _with_spread(line),
                _number(line.paper),
                _difference(line),
                _p(line.mcnemar),
                _p(line.bootstrap),
            ]
            for line in lines
        ]
        if all(line.mcnemar is None for line in lines):
            columns.remove("McNemar p")
            for row in cells:
                del row[5]
        table = tabulate(cells, columns, tablefmt="github", disable_numparse=True)
        parts.append(f"**{key}**\n\n{table}\n")
    if comparison.notes:
        parts.append("".join(f"- {note}\n" for note in comparison.notes))
    return "\n".join(parts)


def as_csv(comparison: Comparison) -> str:
    """Return one line for each score and row, at full precision; what is not known is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["score", "row", "seeds", "mean", "std", "paper", "baseline", "pairs", "difference", "low", "high"]
        + ["mcnemar_p", "bootstrap_p", "images"]
    )
    for key, lines in comparison.scores.items():
        for line in lines:
            pairs, mean, low, high = line.difference or (None, None, None, None)
            own = [key, line.row, len(line.values), line.mean(), line.spread(), line.paper]
            table.writerow(
                [*own, comparison.baseline, pairs, mean, low, high]
                + [line.mcnemar, line.bootstrap, comparison.images]
            )
    return text.getvalue()


def chart(path: Path, title: str, comparison: Comparison) -> None:
    """Draw each score with a line for each row: every run, mean ± standard deviation, the paper's figure, p-values.

    Raises:
        UserError: the file cannot be written.
    """
    from pipeline.figures.png import figure_file

    rows = len(next(iter(comparison.scores.values())))
    with figure_file(path, 1.5 + 4.4 * len(comparison.scores), 1.6 + 0.34 * rows) as figure:
        figure.suptitle(title, fontsize=10, wrap=True)
        axes = figure.subplots(1, len(comparison.scores), sharey=True, squeeze=False)[0]
        for axis, (key, lines) in zip(axes, comparison.scores.items(), strict=True):
            for place, line in enumerate(lines):
                values = list(line.values.values())
                axis.scatter(values, [place] * len(values), s=12, color="#9ecae1", zorder=3)
                if values:
                    axis.errorbar(
                        line.mean(), place, xerr=line.spread() or 0, fmt="o", color="#08519c", ms=5, capsize=3
                    )
                if line.paper is not None:
                    axis.plot(line.paper, place, "D", color="#d94801", ms=5, mfc="none")
                if line.row == comparison.baseline and values:
                    axis.axvline(line.mean(), color="#cccccc", lw=0.8, zorder=0)
            tests = {
                "McNemar p": [line.mcnemar for line in lines],
                "bootstrap p": [line.bootstrap for line in lines],
            }
            shown = [[name, *map(_p, ps)] for name, ps in tests.items() if any(p is not None for p in ps)]
            for column, texts in enumerate(shown):
                for place, text in enumerate(texts, -1):
                    x, within = 1.02 + 0.2 * column, axis.get_yaxis_transform()
                    axis.text(x, place, text, fontsize=7, va="center", transform=within)
            axis.set_ylim(-0.6, rows - 0.4)
            axis.set_yticks(range(rows), [f"{line.row} ({len(line.values)})" for line in lines], fontsize=8)
            axis.set_xlabel(key, fontsize=8)
            axis.tick_params(axis="x", labelsize=8)
            axis.grid(axis="x", color="#eeeeee", lw=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].invert_yaxis()
        _legend(figure)
        figure.tight_layout(rect=(0, 0.06, 1, 1))


def _legend(figure) -> None:  # type: ignore[no-untyped-def]
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


def _explained(comparison: Comparison) -> str:
    several = max(
        (line.difference.pairs for lines in comparison.scores.values() for line in lines if line.difference),
        default=0,
    )
    text = (
        "Mean ± standard deviation over seeds (ours), and the paper's figure. Difference to "
        f"{comparison.baseline}: mean over equal seeds [{LEVEL:.0%} interval, Student's t over seeds], * where that "
        "excludes 0."
    )
    if not comparison.images:
        return f"{text} No p-values, as no two rows have predictions of equal seeds."
    pooled = (
        "McNemar's exact test, over several seeds the permutation test of each image's sum"
        if several > 1
        else "McNemar's exact test"
    )
    return (
        f"{text} P-values, two-sided, against {comparison.baseline} on the {comparison.images} images of "
        f"{comparison.split}: {pooled}; paired bootstrap, {RESAMPLES:,} resamples of the images, at least "
        f"{2 / (RESAMPLES + 1):.4f}. They say what other images "
        "would change, not other seeds, and are not corrected for the number of rows."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _with_spread(line: Line) -> str:
    spread = line.spread()
    return _number(line.mean()) + ("" if spread is None else f" ± {spread:.4f}")


def _difference(line: Line) -> str:
    if line.difference is None or line.difference.mean is None:
        return "-"
    _, mean, low, high = line.difference
    interval = "[-]" if low is None else f"[{low:+.4f}, {high:+.4f}]"
    pairs = "" if line.difference.pairs == len(line.values) else f" ({line.difference.pairs} pairs)"
    return f"{mean:+.4f} {interval}{' *' if line.difference.is_clear() else ''}{pairs}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
