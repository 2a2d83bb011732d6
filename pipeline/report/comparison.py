"""The comparison of the first run with the others: what differs, paired scores, and faces that one run gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.core.progress import in_yaml
from pipeline.experiments.layout import p_value
from pipeline.experiments.pairing import PairedTests
from pipeline.report.cells import Cell, Difference, Table, number
from pipeline.report.predictions import Mistake, SplitPredictions, as_mistakes
from pipeline.report.run import SCORES, FinishedRun
from pipeline.report.score_tables import HEADLINE
from pipeline.tables.columns import places
from pipeline.tables.paths import PREDICTIONS

MOST = 24  # faces of a contrast that only one of the two runs gets wrong
ONE = 0  # stands for the seed: each row of the tests has one run


class Contrast(NamedTuple):
    """The faces of a split that only one of two runs gets wrong, the most confident mistakes of each.

    Attributes:
        other: name of the other run.
        faces: number of faces that both runs have predicted, with the same label.
        totals: number of faces that the first and the other run have predicted.
        counts: number of faces that only the first, only the other, and both get wrong.
        first, second: mistakes of the first run and of the other, at most `MOST` each.
    """

    other: str
    faces: int
    totals: tuple[int, int]
    counts: tuple[int, int, int]
    first: list[Mistake]
    second: list[Mistake]


class PairedScores(NamedTuple):
    """Scores of all runs on a split, with the differences from the first run.

    `notes` says which runs cannot be paired with the first, and why.
    """

    split: str
    headline: Table
    classes: Table
    notes: list[str]


def differing(runs: list[FinishedRun]) -> list[str]:
    """Return the parameters that differ between runs.

    Only runs that have a parameter are compared: a block that one choice uses differs because of the choice.
    """
    keys = dict.fromkeys(key for run in runs for key in run.parameters)
    values = {key: {in_yaml(run.parameters[key]) for run in runs if key in run.parameters} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def differences(runs: list[FinishedRun]) -> Table | None:
    """Return the parameters that differ; the more numerous of runs and parameters go down. None if none differ."""
    keys = differing(runs)
    cells = [[in_yaml(run.parameters[key]) if key in run.parameters else "" for run in runs] for key in keys]
    names = [run.name for run in runs]
    if not keys:
        return None
    heads, down = ["parameter", *names], keys
    if len(runs) > len(keys):
        heads, down, cells = ["run", *keys], names, [list(column) for column in zip(*cells, strict=True)]
    rows: list[list[Cell]] = [[name, *values] for name, values in zip(down, cells, strict=True)]
    return Table("Parameters that differ", heads, rows)


def compared_split(runs: list[FinishedRun]) -> str:
    """Return the split whose scores are compared: test if all runs have it, else valid."""
    return "test" if all("test" in run.splits for run in runs) else "valid"


def paired_scores(runs: list[FinishedRun], missing: dict[str, str]) -> PairedScores:
    """Return the scores of runs, and the tests of their differences from the first run.

    Args:
        runs: at least two, with different names.
        missing: why there are no predictions, by name of the runs that have none.
    """
    split, first = compared_split(runs), runs[0].name
    files: dict[str, Path | None] = {
        run.name: None if run.name in missing else run.files.find(PREDICTIONS) for run in runs
    }
    tests = PairedTests(
        {run.name: {ONE: run.block(SCORES)} for run in runs},
        {name: {ONE: file} for name, file in files.items()},
        first,
        split,
        set(),
    )

    def row(run: FinishedRun, name: str, *keys: str) -> list[Cell]:
        key = ".".join((split, *keys))
        score, base = number(run, SCORES, split, *keys), number(runs[0], SCORES, split, *keys)
        cells: list[Cell] = [name, run.name, score, "", "", ""]
        # Without predictions, it is not known whether both runs have the same faces.
        if score.value is not None and base.value is not None and run.name in tests.pairs:
            low, high = tests.bootstrap_interval(run.name, key) or (None, None)
            cells[3] = Difference(score.value - base.value, low, high)
            cells[4] = p_value(tests.bootstrap_p(run.name, key))
            cells[5] = p_value(tests.mcnemar_p(run.name)) if keys == ("accuracy",) else ""
        return cells

    heads = ["score", "run", "value", f"minus {first}", "bootstrap p", "McNemar p"]
    classes = dict.fromkeys(name for run in runs for name in run.classes(split))
    headline = [row(run, title, key) for key, title in HEADLINE.items() for run in runs]
    recalls = [row(run, name, "per_class", name, "recall")[:5] for name in classes for run in runs]
    notes = [f"{name}: no differences and no p-values: {why}" for name, why in missing.items()]
    notes += [
        f"{run.name}: no differences and no p-values, because its images or labels differ from those of {first}."
        for run in runs
        if run.name in tests.unlike and run.name not in missing
    ]
    return PairedScores(
        split,
        Table(f"Scores on {split}, with 95 % intervals", heads, headline),
        Table(f"Recall of each class on {split}", ["class", *heads[1:5]], recalls),
        notes,
    )


def contrast(
    runs: tuple[FinishedRun, FinishedRun], predictions: tuple[SplitPredictions, SplitPredictions], split: str
) -> Contrast:
    """Compare the mistakes of the first run and another on the faces of a split that have the same label in both."""
    own, other = predictions
    classes = [run.classes(split) for run in runs]
    found = places(own.ids, other.ids)
    ours = np.flatnonzero(found >= 0)
    theirs = found[ours]
    labels = [
        np.array(names, object)[each.labels[rows]]
        for names, each, rows in zip(classes, predictions, (ours, theirs), strict=True)
    ]
    same = labels[0] == labels[1]
    ours, theirs = ours[same], theirs[same]
    wrong = own.wrong[ours]
    wrong_too = other.wrong[theirs]
    first, second = ours[wrong & ~wrong_too], theirs[wrong_too & ~wrong]
    return Contrast(
        runs[1].name,
        len(ours),
        (len(own.ids), len(other.ids)),
        (len(first), len(second), int((wrong & wrong_too).sum())),
        as_mistakes(runs[0], own, own.most_confident(first)[:MOST], classes[0]),
        as_mistakes(runs[0], other, other.most_confident(second)[:MOST], classes[1]),
    )
