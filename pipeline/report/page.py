"""Render the report as one HTML file. It loads nothing, and all text from data is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline.core.progress import in_yaml
from pipeline.evaluation.intervals import FEW
from pipeline.evaluation.warnings import warnings
from pipeline.experiments.significance import RESAMPLES
from pipeline.inference.origin import learned_from
from pipeline.report import charts, comparison, images, run_tables, score_tables, sections
from pipeline.report.album import album
from pipeline.report.cells import number
from pipeline.report.curves import curves
from pipeline.report.predictions import Mistake, SplitPredictions, mistakes, predictions
from pipeline.report.run import SCORES, SYNTHESIZE, FinishedRun
from pipeline.report.templates import templates

# Modules of the page's script, in this order.
SCRIPTS = ("tables", "curves", "mistakes", "map", "album", "print")
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


class Report(NamedTuple):
    """A report: the page, and the paired scores that it shows if it compares runs."""

    html: str
    scores: comparison.PairedScores | None


def render(runs: list[FinishedRun]) -> Report:
    """Return the report of the first run, and its comparison with the others.

    Args:
        runs: at least one run, with different names; the first one has scores.
    """
    environment = templates("pipeline.report")
    environment.filters["face"] = images.face
    folder = files("pipeline.report")
    script = "".join((folder / "scripts" / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    predicted = [predictions(run) for run in runs]
    compared = _comparison(runs, predicted) if len(runs) > 1 else None
    html = environment.get_template("page.html").render(
        style=Markup((folder / "style.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        learned=_learned(runs),
        curves=curves(runs),
        comparison=compared,
        **_run(runs[0], *predicted[0]),
    )
    return Report(html, compared["scores"] if compared else None)


def _learned(runs: list[FinishedRun]) -> list[str]:
    """Return what the runs' models learned from: one sentence for all, or for each group of runs that differs."""
    names: dict[str, list[str]] = {}
    for run in runs:
        if run.learned:
            names.setdefault(learned_from(run.learned), []).append(run.name)
    if len(names) == 1 and len(runs) > 1 and len(*names.values()) == len(runs):
        return [f"Each model {clause}." for clause in names]
    return [f"{'The model' if len(runs) == 1 else ', '.join(own)} {clause}." for clause, own in names.items()]


def _run(run: FinishedRun, by_split: dict[str, SplitPredictions], absent: str) -> dict[str, Any]:
    """Return what the templates show of a run.

    Args:
        run: the run.
        by_split: its predictions.
        absent: why there are none, if there are none.
    """
    last = run.splits[-1]  # the one that training knew least: test, else unlearned, else valid
    wrong = mistakes(run, by_split[last], run.classes(last)) if by_split else []
    sheets = sections.sheets(run, "label")
    changed = [key for key in run.parameters if key in run.baseline or key in run.now]
    return {
        "run": run,
        "last": last,
        "warnings": warnings(run.block(SCORES)),
        "headline": score_tables.headline(run, last),
        "switches": [
            (key, in_yaml(run.parameters[key])) for key in SWITCHES if run.parameters.get(key) is not None
        ],
        "changed": run_tables.parameters(
            run, changed, "Parameters that differ from those of the commit before"
        )
        if changed
        else None,
        "parameters": run_tables.parameters(run, run.parameters, "All parameters that the stages used"),
        "hashes": run_tables.hashes(run),
        "data": run_tables.data(run),
        "rejected": list(run_tables.rejected_rows(run)),
        "classes": run_tables.class_counts(run),
        "balance": sections.balance(run),
        "contact_sheets": [sheet for sheet in sheets if not sheet.name.endswith("landmarks")],
        "landmarks": [sheet for sheet in sheets if sheet.name.endswith("landmarks")],
        "alignment": run_tables.alignment(run),
        "gan": run.value(SYNTHESIZE, "gan"),
        "synthetic": sections.synthetic(run),
        "trained": run_tables.training(run),
        "scores": score_tables.split_scores(run),
        "fewest": FEW,
        "splits": [sections.scored(run, split, by_split.get(split)) for split in reversed(run.splits)],
        "absent": absent,
        "mistakes": wrong,
        "pairs": _pairs(wrong, run.classes(last)),
        "album": album(run, by_split),
        "wrong": int(by_split[last].wrong.sum()) if by_split else 0,
        "everything": list(run_tables.all_values(run)),
    }


def _comparison(
    runs: list[FinishedRun], predicted: list[tuple[dict[str, SplitPredictions], str]]
) -> dict[str, Any]:
    """Return what the templates show of all runs."""
    scores = comparison.paired_scores(
        runs, {run.name: absent for run, (_, absent) in zip(runs, predicted, strict=True) if absent}
    )
    split, names = scores.split, [run.name for run in runs]
    by_run = [by_split.get(split) for by_split, _ in predicted]
    return {
        "names": names,
        "differences": comparison.differences(runs),
        "scores": scores,
        "resamples": RESAMPLES,
        "charts": [
            charts.score_intervals(
                f"compared-{key}",
                names,
                f"{name} on {split}",
                [number(run, SCORES, split, key) for run in runs],
            )
            for key, name in score_tables.HEADLINE.items()
        ],
        "contrasts": [
            comparison.contrast((runs[0], run), (by_run[0], other), split)
            for run, other in zip(runs[1:], by_run[1:], strict=True)
            if by_run[0] is not None and other is not None
        ],
        "runs": score_tables.all_runs(runs, comparison.differing(runs)),
    }


def _pairs(mistakes: list[Mistake], classes: list[str]) -> tuple[list[str], list[str]]:
    """Return the true and the predicted classes of some mistakes, in label order."""
    true, predicted = {mistake.label for mistake in mistakes}, {mistake.predicted for mistake in mistakes}
    return [name for name in classes if name in true], [name for name in classes if name in predicted]
