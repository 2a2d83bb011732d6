"""Lay a comparison out as tables of text: scores side by side, and differences from the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from tabulate import tabulate

from pipeline.core.progress import WIDTH
from pipeline.experiments.comparison import LEVEL, ComparedRow, Comparison
from pipeline.experiments.significance import RESAMPLES
from pipeline.experiments.states import MEANINGS

SIDE_BY_SIDE = 4  # scores in a table or a chart, at most

Column = tuple[str, list[str]]  # a head and its cells


class TextTable(NamedTuple):
    """A table whose cells are text."""

    heads: list[str]
    rows: list[list[str]]

    @classmethod
    def of(cls, columns: list[Column]) -> TextTable:
        """Return the table of columns."""
        heads, cells = zip(*columns, strict=True)
        return cls(list(heads), [list(row) for row in zip(*cells, strict=True)])

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return tabulate(self.rows, self.heads, tablefmt="github", disable_numparse=True)


def score_tables(comparison: Comparison) -> Iterator[TextTable]:
    """Yield tables of our scores beside the paper's, with as many scores in each as fit."""
    seeds = [max(len(row.values) for row in rows) for rows in zip(*comparison.scores.values(), strict=True)]
    names: list[Column] = [("row", list(comparison.states)), ("seeds", [str(count) for count in seeds])]
    states: Column = ("state", list(comparison.states.values()))
    yield from _fitting(names, _score_columns(comparison), [states])


def _score_columns(comparison: Comparison) -> Iterator[list[Column]]:
    """Yield the column of each score, with that of the paper's beside it."""
    for key, rows in comparison.scores.items():
        columns = [(key, [_mean_and_spread(row) for row in rows])]
        if paper_key := comparison.paper_keys.get(key):
            head = "paper" if paper_key == key else f"paper: {paper_key}"
            columns.append((head, [number(row.paper) for row in rows]))
        yield columns


def _fitting(first: list[Column], groups: Iterable[list[Column]], last: list[Column]) -> Iterator[TextTable]:
    """Yield tables that together have all groups of columns.

    Each has as many groups as fit in a line, at least one and at most `SIDE_BY_SIDE`.

    Args:
        first: columns at the left of each table.
        groups: columns that stay together.
        last: columns at the right of each table.
    """

    def table(groups: list[list[Column]]) -> TextTable:
        return TextTable.of([*first, *chain.from_iterable(groups), *last])

    chosen: list[list[Column]] = []
    for group in groups:
        wider = table([*chosen, group]).markdown().partition("\n")[0]
        if chosen and (len(chosen) == SIDE_BY_SIDE or len(wider) > WIDTH):
            yield table(chosen)
            chosen = []
        chosen.append(group)
    yield table(chosen)


def difference_tables(comparison: Comparison) -> list[TextTable]:
    """Return tables with a line for each score and each row whose difference from the baseline is known.

    There is one table if its columns fit in a line, and none if there is no such row.
    """
    compared = [
        (key, row)
        for key, rows in comparison.scores.items()
        for row in rows
        if row.difference and row.difference.pairs
    ]
    if not compared:
        return []
    names = [("score", [key for key, _ in compared]), ("row", [row.name for _, row in compared])]
    differences = (f"difference from {comparison.baseline}", [_difference(row) for _, row in compared])
    p_values = p_value_columns([row for _, row in compared]).items()
    return list(_fitting(names, [[differences], *([column] for column in p_values)], []))


def p_value_columns(rows: list[ComparedRow]) -> dict[str, list[str]]:
    """Return the p-values of rows by the name of the test. Tests without a p-value are left out."""
    p_values = {
        "McNemar p": [row.mcnemar_p for row in rows],
        "bootstrap p": [row.bootstrap_p for row in rows],
    }
    return {name: [p_value(p) for p in ps] for name, ps in p_values.items() if any(p is not None for p in ps)}


def explanation(comparison: Comparison) -> str:
    """Return the paragraph that explains the numbers in the tables."""
    baseline = comparison.baseline
    text = (
        "Scores: mean ± standard deviation over seeds. "
        f"Difference from {baseline}: mean of (row - {baseline}) over the seeds that both have finished, with its "
        f"{100 * LEVEL:.0f} % interval (Student's t) if there are at least two such seeds; * marks an "
        "interval that excludes 0. "
    )
    if comparison.images:
        pairs = [
            row.difference.pairs for rows in comparison.scores.values() for row in rows if row.difference
        ]
        mcnemar = "McNemar's exact test"
        if max(pairs, default=0) > 1:
            mcnemar += (
                " (with several seeds, a permutation test on the number of seeds with which each row classifies an "
                "image correctly)"
            )
        text += (
            f"P-values: two-sided, against {baseline}, on the {comparison.images} images of {comparison.split}. "
            f"They come from {mcnemar} and from a paired bootstrap with {RESAMPLES:,} resamples of the images. The "
            f"smallest p that the bootstrap can give is {2 / (RESAMPLES + 1):.4f}. The p-values cover the choice of "
            "images, not of seeds, and are not corrected for the number of rows."
        )
    else:
        text += (
            f"There are no p-values. They need predictions of {baseline} and of another row for the same seed, the "
            "same images and the same labels."
        )
    return text


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table has to know: the states, the recipe's note, deviations, and limits."""
    states = dict.fromkeys(comparison.states.values())
    runs = comparison.recipe.runs
    seeds = f"the seeds 1 to {runs}" if runs > 1 else "the seed 1"
    return [
        *(f"{state}: {MEANINGS[state].format(seeds=seeds)}" for state in states),
        *comparison.recipe.remarks(comparison.states),
        *comparison.notes,
    ]


def number(value: float | None) -> str:
    """Return a score with four digits."""
    return "-" if value is None else f"{value:.4f}"


def _mean_and_spread(row: ComparedRow) -> str:
    spread = row.spread()
    return number(row.mean()) + ("" if spread is None else f" ± {spread:.4f}") + _mark(row)


def _mark(row: ComparedRow) -> str:
    return " *" if row.difference and row.difference.is_clear() else ""


def _difference(row: ComparedRow) -> str:
    assert row.difference
    count, mean, low, high = row.difference
    interval = "" if low is None else f" [{low:+.4f}, {high:+.4f}]"
    pairs = "" if count == len(row.values) else f" ({count} pairs)"
    return f"{mean:+.4f}{interval}{_mark(row)}{pairs}"


def p_value(value: float | None) -> str:
    """Return a p-value with four digits."""
    if value is None:
        return "-"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
