"""Render the report as one HTML file. It loads nothing, and all text from data is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.progress import in_yaml
from pipeline.evaluation.calibration import BINS, confidence_bins
from pipeline.evaluation.intervals import FEW
from pipeline.evaluation.warnings import warnings
from pipeline.report import charts, pictures, run_tables, score_tables
from pipeline.report.cells import Number, Table, number
from pipeline.report.predictions import Mistake, SplitPredictions, mistakes, predictions
from pipeline.report.run import SCORES, SYNTHESIZE, TRAIN, FinishedRun

SWITCHES = (
    "datasets",
    "train.datasets",
    "gans.datasets",
    "model",
    "augment",
    "loss",
    "optimizer",
    "gan",
    "train.epochs",
    "seed",
)


# Modules of the page's script, in this order.
SCRIPTS = ("tables", "mistakes", "print")


class Sheet(NamedTuple):
    """A picture that a stage drew: data URI, size in pixels, and title."""

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


def render(runs: list[FinishedRun]) -> str:
    """Return the report of the first run, and its comparison with the others.

    Args:
        runs: at least one run; the first one has scores.
    """
    run = runs[0]
    by_split, absent = predictions(run)
    last = run.splits[-1]  # the one that training knew least: test, else unlearned, else valid
    wrong = mistakes(run, by_split[last], run.classes(last)) if by_split else []
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["face"] = pictures.face
    folder = files("pipeline.report")
    style = (folder / "style.css").read_text("utf-8")
    script = "".join((folder / "scripts" / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    sheets = _sheets(run, "label")
    changed = [key for key in run.parameters if key in run.baseline or key in run.now]
    return environment.get_template("page.html").render(
        run=run,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        last=last,
        warnings=warnings(run.block(SCORES)),
        headline=score_tables.headline(run, last),
        switches=[
            (key, in_yaml(run.parameters[key])) for key in SWITCHES if run.parameters.get(key) is not None
        ],
        changed=run_tables.parameters(run, changed, "Parameters that differ from those of the commit before")
        if changed
        else None,
        parameters=run_tables.parameters(run, run.parameters, "All parameters that the stages used"),
        hashes=run_tables.hashes(run),
        data=run_tables.data(run),
        rejected=list(run_tables.rejected_rows(run)),
        classes=run_tables.class_counts(run),
        balance=_balance(run),
        contact_sheets=[sheet for sheet in sheets if not sheet.name.endswith("landmarks")],
        landmarks=[sheet for sheet in sheets if sheet.name.endswith("landmarks")],
        alignment=run_tables.alignment(run),
        gan=run.value(SYNTHESIZE, "gan"),
        synthetic=_synthetic(run),
        trained=run_tables.training(run),
        curves=_curves(run),
        scores=score_tables.split_scores(run),
        fewest=FEW,
        splits=[_scored(run, split, by_split.get(split)) for split in reversed(run.splits)],
        absent=absent,
        mistakes=wrong,
        pairs=_pairs(wrong, run.classes(last)),
        wrong=int((by_split[last].predicted != by_split[last].labels).sum()) if by_split else 0,
        comparison=score_tables.comparison(runs) if len(runs) > 1 else None,
        compared=_compared(runs) if len(runs) > 1 else [],
        everything=list(run_tables.all_values(run)),
    )


def _balance(run: FinishedRun) -> Markup | None:
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


def _synthetic(run: FinishedRun) -> Synthetic:
    kinds: dict[str, list[Sheet]] = {"faces": [], "others": [], "losses": []}
    for sheet in _sheets(run, "synthesize"):
        # `<class>`, `<class>, <kind>`, and `all, <figure>` for the figures of all trainings.
        name, _, kind = sheet.name.partition(", ")
        kinds["faces" if not kind else "losses" if name == "all" else "others"].append(sheet)
    return Synthetic(**kinds, table=run_tables.synthetic(run))


def _sheets(run: FinishedRun, stage: str) -> list[Sheet]:
    return [
        Sheet(*pictures.sheet(path), path.stem.replace("." if stage == "synthesize" else "-", ", "))
        for path in run.sheets(stage)
    ]


def _curves(run: FinishedRun) -> list[tuple[Markup, str]]:
    best = run.value(TRAIN, "best_epoch")
    best = float(best) if isinstance(best, int) else None
    return [
        (charts.curve_chart(f"curve-{i}", curve, best), curve.name) for i, curve in enumerate(run.curves())
    ]


def _scored(run: FinishedRun, split: str, predictions: SplitPredictions | None) -> ScoredSplit:
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


def _pairs(mistakes: list[Mistake], classes: list[str]) -> tuple[list[str], list[str]]:
    """Return the true and the predicted classes of some mistakes, in label order."""
    true, predicted = {mistake.label for mistake in mistakes}, {mistake.predicted for mistake in mistakes}
    return [name for name in classes if name in true], [name for name in classes if name in predicted]


def _compared(runs: list[FinishedRun]) -> list[Markup]:
    """Return a chart of each headline score, on test if all runs have it, else on valid."""
    split = "test" if all("test" in run.splits for run in runs) else "valid"
    names = [run.name for run in runs]
    return [
        charts.score_intervals(
            f"compared-{key}", names, f"{name} on {split}", [number(run, SCORES, split, key) for run in runs]
        )
        for key, name in score_tables.HEADLINE.items()
    ]
