"""Tables about scores, of one run and of several."""

from __future__ import annotations

import numpy as np

from pipeline.core.progress import in_yaml
from pipeline.evaluation.warnings import MACRO, coverage
from pipeline.report.cells import Cell, Number, Table, number, number_table
from pipeline.report.run import SCORES, FinishedRun
from pipeline.tables.attributes import GAP
from pipeline.tables.vocabulary import SCORED

HEADLINE = {"accuracy": "accuracy"} | MACRO
# Other scores of a split, in the order of metrics/evaluate.json.
OTHERS = {"kappa": "kappa", "alpha": "alpha", "auc": "AUC", "auc_pr": "AUC PR", "ece": "calibration error"}
PER_CLASS = {
    "support": "faces",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "auc_pr": "AUC PR",
}


def headline(run: FinishedRun, split: str) -> list[tuple[str, Number]]:
    """Return title and value of each headline score. Macro scores name their classes if a class has no face."""
    scored, total = coverage(run.block(SCORES, split))
    over = "" if scored == total else f" over {scored} of {total} classes,"
    return [
        (f"{name}{over if key in MACRO else ''} on {split}", number(run, SCORES, split, key))
        for key, name in HEADLINE.items()
    ]


def split_scores(run: FinishedRun) -> Table | None:
    """Return the scores of each split and of its parts."""
    paths: dict[str, list[str]] = {}
    for split in run.splits:
        paths |= {split: [split], f"{split}, without repeats": [split, "deduplicated"]}
        for name in run.block(SCORES, split, "datasets"):
            part = [split, "datasets", name]
            paths |= {f"{split}, {name}": part, f"{split}, {name} without repeats": [*part, "deduplicated"]}
    keys = ("images", *HEADLINE, "classes", *OTHERS)
    rows = {
        name: [(SCORES, *path, key) for key in keys]
        for name, path in paths.items()
        if run.block(SCORES, *path)
    }
    columns = ["split", "faces", *HEADLINE.values(), "classes with faces", *OTHERS.values()]
    return number_table(run, "Scores with their 95 % intervals", columns, rows)


def class_scores(run: FinishedRun, split: str) -> Table:
    """Return the scores of each class of a split."""
    rows: list[list[Cell]] = [
        [name, *(number(run, SCORES, split, "per_class", name, key) for key in PER_CLASS)]
        for name in run.classes(split)
    ]
    return Table(f"Scores of each class on {split}", ["class", *PER_CLASS.values()], rows)


def group_scores(run: FinishedRun, split: str) -> dict[str, Table]:
    """Return the scores of each value of an attribute on a split, and the gaps in the last rows, by attribute."""
    keys = ("support", *HEADLINE, "classes")
    columns = ["faces", *HEADLINE.values(), "classes with faces"]
    tables = {}
    for attribute, values in run.block(SCORES, split, "groups").items():
        address = (split, "groups", attribute)
        rows: list[list[Cell]] = [
            [value, *(number(run, SCORES, *address, value, key) for key in keys)]
            for value in (values if isinstance(values, dict) else {})
            if value != GAP
        ]
        for name, path in {"largest gap": [GAP], "by chance, up to": [GAP, "chance"]}.items():
            if run.block(SCORES, *address, *path):
                gaps = [number(run, SCORES, *address, *path, key) for key in HEADLINE]
                rows.append([name, "", *gaps, ""])
        tables[attribute] = Table(f"Scores by {attribute} on {split}", [attribute, *columns], rows)
    return tables


def confidence(run: FinishedRun, split: str) -> Table | None:
    """Return the confidence of correct and of wrong predictions."""
    rows = {
        name: [(SCORES, split, "confidence", name, key) for key in ("mean", "median")]
        for name in ("correct", "wrong")
        if run.block(SCORES, split, "confidence")
    }
    return number_table(run, f"Confidence on {split}", ["predictions", "mean", "median"], rows)


def bins(edges: np.ndarray, images: np.ndarray, correct: np.ndarray, confidence: np.ndarray) -> Table:
    """Return the bins of a reliability diagram that contain faces.

    Args:
        edges: [B + 1].
        images, correct: number of faces, and of correct predictions, [B].
        confidence: sums of the confidence, [B].
    """
    rows: list[list[Cell]] = [
        [
            f"{edges[i]:.2f} to {edges[i + 1]:.2f}",
            f"{int(images[i]):,}",
            f"{confidence[i] / images[i]:.4f}",
            f"{correct[i] / images[i]:.4f}",
        ]
        for i in np.flatnonzero(images)
    ]
    return Table("Reliability", ["confidence", "faces", "mean confidence", "accuracy"], rows)


def all_runs(runs: list[FinishedRun], differing: list[str]) -> Table:
    """Return a row for each run: the parameters that differ between runs, then its scores on every split."""
    paths: dict[str, list[str]] = {}
    for split in SCORED:
        scores = {name: [key] for key, name in HEADLINE.items()} | {OTHERS["ece"]: ["ece"]}
        classes = dict.fromkeys(name for run in runs for name in run.classes(split))
        scores |= {f"recall of {name}": ["per_class", name, "recall"] for name in classes}
        if any(split in run.splits for run in runs):
            paths |= {f"{split}: {name}": [split, *path] for name, path in scores.items()}
    rows: list[list[Cell]] = [
        [
            run.name,
            *(in_yaml(run.parameters[key]) if key in run.parameters else "" for key in differing),
            *(number(run, SCORES, *path) for path in paths.values()),
            run.commit.sha[:7] if run.commit else "",
        ]
        for run in runs
    ]
    parts = ["", *("" for _ in differing), *(path[0] for path in paths.values()), ""]
    return Table("Runs", ["run", *differing, *paths, "commit"], rows, parts)
