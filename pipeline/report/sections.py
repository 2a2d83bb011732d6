"""Collect what the sections of one run show: scores of each split, balance of the classes, sheets of faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from pipeline.evaluation.calibration import BINS, confidence_bins
from pipeline.report import charts, images, run_tables, score_tables
from pipeline.report.cells import Number, Table
from pipeline.report.predictions import SplitPredictions
from pipeline.report.run import FinishedRun


class Sheet(NamedTuple):
    """An image that a stage drew: data URI, size in pixels, and title."""

    uri: str
    width: int
    height: int
    name: str


class Synthetic(NamedTuple):
    """The section about synthetic faces: sheets of faces and others by class, of losses, and the table of quality."""

    faces: list[Sheet]
    others: list[Sheet]
    losses: list[Sheet]
    table: Table | None


class Confusion(NamedTuple):
    """A confusion matrix: number of faces, and share of the true class (row), [K][K]."""

    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]


class ScoredSplit(NamedTuple):
    """The section of a split. Without predictions the last three are None.

    `groups` has the title of a chart of accuracy, the chart and the table of each attribute.
    """

    name: str
    per_class: Table
    bars: Markup
    confidence: Table | None
    groups: list[tuple[str, Markup, Table]]
    confusion: Confusion | None
    reliability: Markup | None
    bins: Table | None


def balance(run: FinishedRun) -> Markup | None:
    """Return bars of the share of each class in each split; None without counts."""
    table = run_tables.class_counts(run)
    if table is None:
        return None
    columns = _columns(Table(table.caption, table.columns, table.rows[:-1]))  # without the row of sums
    counts = {split: [value or 0.0 for value in columns[split]] for split in table.columns[1:]}
    return charts.balance_bars([str(row[0]) for row in table.rows[:-1]], counts)


def _columns(table: Table) -> dict[str, list[float | None]]:
    """Return the numbers of a table by column."""
    return {
        name: [cell.value if isinstance(cell := row[i], Number) else None for row in table.rows]
        for i, name in enumerate(table.columns)
    }


def synthetic(run: FinishedRun) -> Synthetic:
    """Return what the section about synthetic faces shows."""
    kinds: dict[str, list[Sheet]] = {"faces": [], "others": [], "losses": []}
    for sheet in sheets(run, "synthesize"):
        # `<class>`, `<class>, <kind>`, and `all, <figure>` for the figures of all trainings.
        name, _, kind = sheet.name.partition(", ")
        kinds["faces" if not kind else "losses" if name == "all" else "others"].append(sheet)
    return Synthetic(**kinds, table=run_tables.synthetic(run))


def sheets(run: FinishedRun, stage: str) -> list[Sheet]:
    """Return the images that a stage drew."""
    return [
        Sheet(*images.sheet(path), path.stem.replace("." if stage == "synthesize" else "-", ", "))
        for path in run.sheets(stage)
    ]


def scored(run: FinishedRun, split: str, predictions: SplitPredictions | None) -> ScoredSplit:
    """Return what the section of a split shows."""
    table, classes = score_tables.class_scores(run, split), run.classes(split)
    columns = _columns(table)
    bars = charts.score_bars(split, classes, {name: columns[name] for name in ("precision", "recall", "F1")})
    scored = (split, table, bars, score_tables.confidence(run, split), _groups(run, split))
    if predictions is None:
        return ScoredSplit(*scored, None, None, None)
    counts = predictions.confusion()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The bins of the calibration error.
    images, correct, confidence = confidence_bins(predictions.labels, predictions.probabilities)
    return ScoredSplit(
        *scored,
        Confusion(classes, counts.tolist(), shares.tolist()),
        charts.reliability_diagram(split, images, correct, confidence),
        score_tables.bins(np.arange(BINS + 1) / BINS, images, correct, confidence),
    )


def _groups(run: FinishedRun, split: str) -> list[tuple[str, Markup, Table]]:
    groups = []
    for i, (attribute, table) in enumerate(score_tables.group_scores(run, split).items()):
        # The rows of the gaps have no number of faces.
        scores = {str(value): score for value, faces, score, *_ in table.rows if faces}
        accuracy = [score for score in scores.values() if isinstance(score, Number)]
        chart = charts.score_intervals(
            f"groups-{split}-{i}", list(scores), "accuracy", accuracy, f"each {attribute}"
        )
        groups.append((f"Accuracy by {attribute} on {split}, with 95 % intervals", chart, table))
    return groups
