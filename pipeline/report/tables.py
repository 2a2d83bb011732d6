"""The tables of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.core.progress import in_bytes, in_yaml
from pipeline.report.cells import Cell, Number, Table, counts, is_number, number, shown
from pipeline.report.collect import LABEL, SCORES, SYNTHESIZE, TRAIN, Run
from pipeline.tables.schema import SPLITS

HEADLINE = {"accuracy": "accuracy", "macro_recall": "macro recall", "macro_f1": "macro F1"}
# Scores of a split beside the headline, in the order of metrics/evaluate.json.
OTHERS = {"kappa": "kappa", "alpha": "alpha", "auc": "AUC", "auc_pr": "AUC PR", "ece": "calibration error"}
PER_CLASS = {
    "support": "faces",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "auc_pr": "AUC PR",
}


# ------------------------------------------------------------------------------------------------------- what was run


def parameters(run: Run, keys: Iterable[str], caption: str) -> Table:
    """Return parameters, with what the commit before and params.yaml now have where that differs."""
    columns = ["parameter", "value"]
    if run.baseline:
        columns.append("before")
    if run.now:
        columns.append("params.yaml now")
    rows: list[list[Cell]] = []
    for key in keys:
        row: list[Cell] = [key, in_yaml(run.parameters[key])]
        if run.baseline:
            row.append(in_yaml(run.baseline[key]) if key in run.baseline else "")
        if run.now:
            row.append(in_yaml(run.now[key]) if key in run.now else "")
        rows.append(row)
    return Table(caption, columns, rows)


def hashes(run: Run) -> Table | None:
    """Return the hashes of raw data, tables and models."""
    rows: list[list[Cell]] = [
        [
            output.path,
            f"{output.kind} by {output.stage}",
            output.md5,
            "" if output.size is None else in_bytes(output.size),
        ]
        for output in run.outputs
        if not output.path.startswith(("metrics/", "plots/"))
    ]
    return (
        Table("Data and models, as dvc.lock records them", ["path", "stage", "MD5", "size"], rows)
        if rows
        else None
    )


# --------------------------------------------------------------------------------------------------------------- data


def records(run: Run) -> Table | None:
    """Return how many records each data set has, and how many were kept."""
    rows: list[list[Cell]] = [
        [name, *(number(run, file, key) for key in ("records", "kept"))]
        for name in run.datasets
        if run.of(file := f"metrics/ingest/{name}.json", "records") is not None
    ]
    return Table("Records read", ["data set", "records", "kept"], rows) if rows else None


def rejections(run: Run) -> list[Table]:
    """Return why records were rejected, for each data set that has such."""
    tables = [
        counts(run, f"Rejected records of {name}, by reason", f"metrics/ingest/{name}.json", "rejected")
        for name in run.datasets
    ]
    return [table for table in tables if table]


def rejected_rows(run: Run) -> Iterator[Table]:
    """Yield the first rejected records of each data set."""
    for name in run.datasets:
        rows = run.rejected(name)
        if rows:
            columns = list(rows[0])
            caption = f"Rejected records of {name}: the first {len(rows)}"
            yield Table(caption, columns, [[row.get(column, "") for column in columns] for row in rows])


def class_counts(run: Run) -> Table | None:
    """Return how many faces each class has in each split."""
    splits = [split for split in SPLITS if run.block(LABEL, "classes", split)]
    classes = list(dict.fromkeys(name for split in splits for name in run.block(LABEL, "classes", split)))
    if not classes:
        return None
    rows: list[list[Cell]] = [
        [name, *(number(run, LABEL, "classes", split, name) for split in splits)] for name in classes
    ]
    rows.append(["all", *(number(run, LABEL, "kept", split) for split in splits)])
    return Table("Faces of each class", ["class", *splits], rows)


def agreement(run: Run) -> Table | None:
    """Return how far annotators agree."""
    names = {
        "images": "pictures with votes",
        "winning_share": "mean share of the winner",
        "entropy": "mean entropy, bits",
        "ties": "share of ties",
        "fleiss_kappa": "Fleiss' kappa",
        "alpha": "Krippendorff's alpha",
    }
    rows: list[list[Cell]] = [
        [name, number(run, LABEL, "agreement", key)]
        for key, name in names.items()
        if run.of(LABEL, "agreement", key) is not None
    ]
    return Table("Agreement of annotators", ["", "value"], rows) if rows else None


def second_choices(run: Run) -> Table | None:
    """Return which class most often came second to which."""
    table = counts(run, "Most frequent second choices", LABEL, "agreement", "second_choice")
    if table:
        table.columns[0] = "winner, second"
        table.rows = [[str(name).replace("_", ", "), count] for name, count in table.rows]
    return table


def leaks(run: Run) -> Table | None:
    """Return what occurs in two splits: pictures pixel by pixel, nearly the same, people."""
    kinds = {"duplicates": "same pixels", "near_duplicates": "same or nearly", "groups": "same person"}
    kinds = {kind: name for kind, name in kinds.items() if run.block(LABEL, kind)}
    pairs = dict.fromkeys(
        key for kind in kinds for key, value in run.block(LABEL, kind).items() if not isinstance(value, dict)
    )
    if not pairs:
        return None
    rows: list[list[Cell]] = [
        [pair.replace("_", " "), *(number(run, LABEL, kind, pair) for kind in kinds)] for pair in pairs
    ]
    rows += [
        [f"repeats within {split}", *_only(kinds, "near_duplicates", number(run, LABEL, *within, split))]
        for within in [("near_duplicates", "within")]
        for split in run.block(LABEL, *within)
    ]
    return Table("Leaks between splits: pictures that occur in both", ["", *kinds.values()], rows)


def _only(kinds: Iterable[str], wanted: str, cell: Number) -> list[Cell]:
    return [cell if kind == wanted else "" for kind in kinds]


def alignment(run: Run) -> Table | None:
    """Return how many faces were found in each data set."""
    names = {
        "images": "pictures",
        "found": "faces found",
        "found_rate": "share found",
        "given": "given by the data set",
        "fallback": "whole picture instead",
        "missing": "missing",
    }
    files = {name: file for name in run.datasets if run.block(file := f"metrics/align/{name}.json")}
    if not files:
        return None
    rows: list[list[Cell]] = [
        [name, *(shown(run.of(file, key)) for file in files.values())]
        for key, name in {"mode": "cut out by", "detector": "detector"}.items()
    ]
    rows += [[name, *(number(run, file, key) for file in files.values())] for key, name in names.items()]
    return Table("Faces found", ["", *files], rows)


# ---------------------------------------------------------------------------------------------------- synthetic faces


def synthetic(run: Run) -> Table | None:
    """Return how good the faces of each class are."""
    paths = {
        "faces": ["images"],
        "learned from": ["trained_on"],
        "FID": ["fid"],
        "FID untrained": ["fid_untrained"],
        "FID of noise": ["fid_noise"],
        "FID of valid": ["fid_valid"],
        "KID": ["kid"],
        "precision": ["precision"],
        "recall": ["recall"],
        "density": ["density"],
        "coverage": ["coverage"],
        "diversity": ["diversity", "generated"],
        "of training faces": ["diversity", "training"],
        "memorised": ["memorised"],
        "recognised": ["recognised", "generated"],
        "of valid": ["recognised", "valid"],
    }
    classes = [name for name in run.block(SYNTHESIZE) if run.block(SYNTHESIZE, name, "diversity")]
    classes = classes or [
        name for name in run.block(SYNTHESIZE) if run.of(SYNTHESIZE, name, "images") is not None
    ]
    if not classes:
        return None
    # Upright: a phone shows all classes of a figure at once.
    rows: list[list[Cell]] = [
        [title, *(number(run, SYNTHESIZE, name, *path) for name in classes)]
        for title, path in paths.items()
        if any(run.of(SYNTHESIZE, name, *path) is not None for name in classes)
    ]
    return Table("Synthetic faces, by class", ["", *classes], rows)


def training(run: Run) -> Table | None:
    """Return the values of metrics/train.json."""
    rows: list[list[Cell]] = [
        [" ".join(keys).replace("_", " "), number(run, TRAIN, *keys) if is_number(value) else shown(value)]
        for keys, value in _leaves(run.block(TRAIN))
    ]
    return Table("Training", ["", "value"], rows) if rows else None


# ------------------------------------------------------------------------------------------------------------- scores


def headline(run: Run) -> Table:
    """Return the scores of every split, and of parts of them."""
    rows: list[list[Cell]] = []
    for split in run.splits:
        rows.append([split, *_scores(run, split)])
        parts = [("without repeats", ["deduplicated"])]
        for name in run.block(SCORES, split, "datasets"):
            parts.append((name, ["datasets", name]))
            parts.append((f"{name} without repeats", ["datasets", name, "deduplicated"]))
        rows += [
            [f"{split}, {name}", *_scores(run, split, *path)]
            for name, path in parts
            if run.block(SCORES, split, *path)
        ]
    return Table(
        "Scores, with 95 % intervals where they were computed",
        ["split", "faces", *HEADLINE.values(), *OTHERS.values()],
        rows,
    )


def _scores(run: Run, *keys: str) -> list[Cell]:
    return [number(run, SCORES, *keys, key) for key in ("images", *HEADLINE, *OTHERS)]


def per_class(run: Run, split: str) -> Table:
    """Return the scores of each class of a split."""
    rows: list[list[Cell]] = [
        [name, *(number(run, SCORES, split, "per_class", name, key) for key in PER_CLASS)]
        for name in run.classes(split)
    ]
    return Table(f"Scores of each class on {split}", ["class", *PER_CLASS.values()], rows)


def confidence(run: Run, split: str) -> Table | None:
    """Return how sure the network is where it is right and where it is wrong."""
    if not run.block(SCORES, split, "confidence"):
        return None
    rows: list[list[Cell]] = [
        [name, *(number(run, SCORES, split, "confidence", name, key) for key in ("mean", "median"))]
        for name in ("correct", "wrong")
    ]
    return Table(f"Confidence on {split}", ["predictions", "mean", "median"], rows)


def bins(edges: np.ndarray, images: np.ndarray, right: np.ndarray, confidence: np.ndarray) -> Table:
    """Return the bins of a reliability diagram that hold faces; arguments [B], `edges` [B + 1]."""
    rows: list[list[Cell]] = [
        [
            f"{edges[i]:.2f} to {edges[i + 1]:.2f}",
            f"{int(images[i]):,}",
            f"{confidence[i] / images[i]:.4f}",
            f"{right[i] / images[i]:.4f}",
        ]
        for i in np.flatnonzero(images)
    ]
    return Table("Reliability", ["confidence", "faces", "mean confidence", "accuracy"], rows)


# --------------------------------------------------------------------------------------------------------- comparison


def comparison(runs: list[Run]) -> Table:
    """Return a row for each run: its scores on every split, and the parameters in which those that have them differ."""
    paths: dict[str, list[str]] = {}
    for split in SPLITS:
        scores = {name: [key] for key, name in HEADLINE.items()} | {OTHERS["ece"]: ["ece"]}
        classes = dict.fromkeys(name for run in runs for name in run.classes(split))
        scores |= {f"recall of {name}": ["per_class", name, "recall"] for name in classes}
        if any(split in run.splits for run in runs):
            paths |= {f"{split}: {name}": [split, *path] for name, path in scores.items()}
    # What only one choice of a switch has differs because of the switch.
    keys = dict.fromkeys(key for run in runs for key in run.parameters)
    values = {key: {in_yaml(run.parameters[key]) for run in runs if key in run.parameters} for key in keys}
    differing = [key for key in keys if len(values[key]) > 1]
    rows: list[list[Cell]] = [
        [
            run.name,
            *(number(run, SCORES, *path) for path in paths.values()),
            *(in_yaml(run.parameters[key]) if key in run.parameters else "" for key in differing),
            run.commit.sha[:7] if run.commit else "",
        ]
        for run in runs
    ]
    parts = ["", *(path[0] for path in paths.values()), *("" for _ in differing), ""]
    return Table("Runs", ["run", *paths, *differing, "commit"], rows, parts)


def everything(run: Run) -> Iterator[Table]:
    """Yield every value of every file of metrics in full, under its key."""
    for file, content in run.metrics.items():
        yield Table(
            file, ["key", "value"], [[".".join(keys), in_yaml(value)] for keys, value in _leaves(content)]
        )


def _leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value
