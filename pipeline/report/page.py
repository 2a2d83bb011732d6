"""The report as one HTML file: everything inside it, everything that comes from data escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.progress import in_yaml

# The one room that another one is imported from: bins of the same edges, or figure and calibration error would differ.
from pipeline.evaluation.calibration import BINS, confidence_bins
from pipeline.report import cells, figures, pictures, tables
from pipeline.report.collect import LABEL, SCORES, SYNTHESIZE, TRAIN, Mistake, Run, Split

SWITCHES = ("datasets", "model", "augment", "loss", "optimizer", "gan", "train.epochs", "seed")


class Sheet(NamedTuple):
    """A picture that a stage drew: data URI, pixels, and what is on it."""

    uri: str
    width: int
    height: int
    name: str


class Confusion(NamedTuple):
    """A confusion matrix: how many faces, and which share of the true class (row), [K][K]."""

    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]


class Scored(NamedTuple):
    """What is shown of a split; without predictions the last three are None."""

    name: str
    per_class: cells.Table
    bars: Markup
    confidence: cells.Table | None
    confusion: Confusion | None
    reliability: Markup | None
    bins: cells.Table | None


def render(runs: list[Run]) -> str:
    """Return the report of the first run, and the comparison with the others.

    Args:
        runs: at least one; the first one has scores.
    """
    run = runs[0]
    predictions, absent = run.predictions()
    last = run.splits[-1]  # of which training knew least: test, else valid
    mistakes = run.mistakes(predictions[last], run.classes(last)) if predictions else []
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["face"] = pictures.face
    sheets = _sheets(run, "label")
    style, script = (_own(name) for name in ("style.css", "script.js"))
    changed = [key for key in run.parameters if key in run.baseline or key in run.now]
    return environment.get_template("template.html").render(
        run=run,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        last=last,
        headline=[(name, cells.number(run, SCORES, last, key)) for key, name in tables.HEADLINE.items()],
        switches=[(key, in_yaml(run.parameters[key])) for key in SWITCHES if key in run.parameters],
        changed=tables.parameters(run, changed, "Parameters that differ from those of the commit before")
        if changed
        else None,
        parameters=tables.parameters(run, run.parameters, "All parameters that the stages used"),
        hashes=tables.hashes(run),
        data=[
            table
            for table in [
                tables.records(run),
                *tables.rejections(run),
                cells.counts(run, "Faces dropped by label, by reason", LABEL, "dropped"),
                cells.counts(run, "Faces in splits that were drawn", LABEL, "drawn"),
                tables.leaks(run),
                tables.agreement(run),
                tables.second_choices(run),
            ]
            if table
        ],
        rejected=list(tables.rejected_rows(run)),
        classes=tables.class_counts(run),
        balance=_balance(run),
        contact_sheets=[sheet for sheet in sheets if not sheet.name.endswith("landmarks")],
        landmarks=[sheet for sheet in sheets if sheet.name.endswith("landmarks")],
        alignment=tables.alignment(run),
        gan=run.of(SYNTHESIZE, "gan"),
        synthetic=tables.synthetic(run),
        synthetic_sheets=_sheets(run, "synthesize"),
        trained=tables.training(run),
        curves=_curves(run),
        scores=tables.headline(run),
        splits=[_scored(run, split, predictions.get(split)) for split in reversed(run.splits)],
        absent=absent,
        mistakes=mistakes,
        pairs=_pairs(mistakes, run.classes(last)),
        wrong=_wrong(predictions[last]) if predictions else 0,
        comparison=tables.comparison(runs) if len(runs) > 1 else None,
        compared=_compared(runs) if len(runs) > 1 else [],
        everything=list(tables.everything(run)),
    )


def _own(name: str) -> str:
    return (files("pipeline.report") / name).read_text(encoding="utf-8")


def _balance(run: Run) -> Markup | None:
    table = tables.class_counts(run)
    if table is None:
        return None
    *rows, _ = table.rows  # the last one is their sum
    counts = {
        split: [float(cell.value or 0) if isinstance(cell := row[i], cells.Number) else 0.0 for row in rows]
        for i, split in enumerate(table.columns)
        if i > 0
    }
    return figures.class_balance([str(row[0]) for row in rows], counts)


def _sheets(run: Run, stage: str) -> list[Sheet]:
    return [Sheet(*pictures.sheet(path), _title(path)) for path in run.sheets(stage)]


def _title(path: Path) -> str:
    return path.stem.replace("_", " ").replace("-", ", ")


def _curves(run: Run) -> list[tuple[Markup, str]]:
    best = run.of(TRAIN, "best_epoch")
    best = float(best) if isinstance(best, int) else None
    return [(figures.curve(f"curve-{i}", curve, best), curve.name) for i, curve in enumerate(run.curves())]


def _scored(run: Run, split: str, predictions: Split | None) -> Scored:
    table = tables.per_class(run, split)
    classes = run.classes(split)
    columns = {name: i for i, name in enumerate(table.columns)}
    bars = figures.per_class(
        split,
        classes,
        {
            name: [
                cell.value if isinstance(cell := row[columns[name]], cells.Number) else None
                for row in table.rows
            ]
            for name in ("precision", "recall", "F1")
        },
    )
    scored = (split, table, bars, tables.confidence(run, split))
    if predictions is None:
        return Scored(*scored, None, None, None)
    counts = predictions.confusion()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    images, right, confidence = confidence_bins(predictions.labels, predictions.probabilities)
    return Scored(
        *scored,
        Confusion(classes, counts.tolist(), shares.tolist()),
        figures.reliability(split, images, right, confidence),
        tables.bins(np.arange(BINS + 1) / BINS, images, right, confidence),
    )


def _wrong(split: Split) -> int:
    return int((split.probabilities.argmax(axis=1) != split.labels).sum())


def _pairs(mistakes: list[Mistake], classes: list[str]) -> tuple[list[str], list[str]]:
    """Return the true and the predicted classes that occur among mistakes, in label order."""
    true, predicted = {mistake.label for mistake in mistakes}, {mistake.predicted for mistake in mistakes}
    return [name for name in classes if name in true], [name for name in classes if name in predicted]


def _compared(runs: list[Run]) -> list[Markup]:
    """Return a figure of each headline score on test, if all runs have it, else on valid."""
    split = "test" if all("test" in run.splits for run in runs) else "valid"
    names = [run.name for run in runs]
    return [
        figures.compared(
            f"compared-{key}",
            names,
            f"{name} on {split}",
            [cells.number(run, SCORES, split, key) for run in runs],
        )
        for key, name in tables.HEADLINE.items()
    ]
