"""Rows of a recipe beside one of them, the baseline: paired differences over seeds, with intervals and tests.

Runs of one seed draw the same first weights and order of faces, and the same splits where these are drawn: their
difference varies less than they do. Its interval covers what other seeds would change; the tests of
`pipeline.experiments.significance` cover what other images would. Of many of either one in twenty is clear by chance.
"""

from __future__ import annotations

import fnmatch
import math
import re
import statistics
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats has the same, and takes half a second to import

from pipeline.core.errors import UserError
from pipeline.experiments import significance
from pipeline.experiments.recipes import Recipe

LEVEL = 0.95
HEADLINE = ("accuracy", "macro_recall", "macro_f1")

Scores = dict[str, Any]  # of one run, as in metrics/evaluate.json
Runs = dict[int, Scores]  # of one row, by seed


class Difference(NamedTuple):
    """A row's score minus the baseline's, over the seeds that both have.

    Attributes:
        pairs: how many seeds these are.
        mean: None without pairs.
        low, high: the interval's ends; None with fewer than two pairs.
    """

    pairs: int
    mean: float | None
    low: float | None
    high: float | None

    def is_clear(self) -> bool:
        """Return whether there is an interval and it excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def difference(baseline: dict[int, float], row: dict[int, float]) -> Difference:
    """Return the mean difference of a row to the baseline with its 95 % interval, that of the paired t-test.

    mean ± t * s / sqrt(n), where s is the standard deviation of the n differences and t the 97.5 % quantile of
    Student's distribution with n - 1 degrees of freedom (Student 1908). Where all differences are equal the interval
    is a point.

    Args:
        baseline: score of each run, by seed.
        row: the same.
    """
    differences = [row[seed] - baseline[seed] for seed in sorted(baseline.keys() & row.keys())]
    count = len(differences)
    if not count:
        return Difference(0, None, None, None)
    mean = statistics.fmean(differences)
    if count == 1:
        return Difference(1, mean, None, None)
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    half = quantile * statistics.stdev(differences) / math.sqrt(count)
    return Difference(count, mean, mean - half, mean + half)


def at(scores: Scores, key: str) -> float | None:
    """Return the number at a dotted key; None where there is none."""
    found: Any = scores
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        row: its name.
        values: the score of each finished run, by seed.
        paper: the paper's figure; None where it has none.
        difference: to the baseline, over the seeds that both have; None of the baseline itself.
        mcnemar, bootstrap: p-values of that difference over other images; None where there are none.
    """

    row: str
    values: dict[int, float]
    paper: float | None
    difference: Difference | None
    mcnemar: float | None
    bootstrap: float | None

    def mean(self) -> float | None:
        """Return the mean over the seeds; None without runs."""
        return statistics.fmean(self.values.values()) if self.values else None

    def spread(self) -> float | None:
        """Return the standard deviation over the seeds; None of fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


class Comparison(NamedTuple):
    """All rows of a recipe beside one of them.

    Attributes:
        baseline: that row.
        split: whose images the tests take.
        images: how many these are; 0 without predictions.
        scores: lines by the key that was read; behind it, in brackets, the paper's where that is another.
        notes: why there are no p-values, where there are none.
    """

    baseline: str
    split: str
    images: int
    scores: dict[str, list[Line]]
    notes: list[str]


def compare(
    recipe: Recipe,
    rows: dict[str, Runs],
    files: dict[str, dict[int, Path | None]],
    baseline: str | None = None,
    keys: list[str] | None = None,
) -> Comparison:
    """Compare the rows of a recipe with one of them.

    Scores are read on test if all runs have it, else on valid.

    Args:
        recipe: whose rows, and the paper's figures, they are.
        rows: scores of the finished runs of each row, by seed.
        files: their predictions, None where they are lost.
        baseline: the row that the others are compared with; the first one if None.
        keys: dotted keys of scores, `*` stands for any part; the paper's, accuracy, macro recall and macro F1 if None
            or empty.

    Raises:
        UserError: no such row, or no run has a score that was asked for.
    """
    baseline = baseline or next(iter(rows))
    if baseline not in rows:
        raise UserError.of("baseline", repr(baseline), rows)
    finished = [scores for seeds in rows.values() for scores in seeds.values()]
    split = "test" if all("test" in scores for scores in finished) else "valid"
    published = {_moved(key, split): key for row in recipe.rows().values() for key in row.paper}
    asked = _asked(keys, finished, split)
    tests = _Tests(rows, files, baseline, split)
    scores = {}
    for key in asked if keys else dict.fromkeys([*published, *asked]):
        paper = published.get(key, key)
        own = _values(rows[baseline], key)
        lines = []
        for name, row in recipe.rows().items():
            values = _values(rows[name], key)
            other = name != baseline
            lines.append(
                Line(
                    name,
                    values,
                    row.paper.get(paper),
                    difference(own, values) if other else None,
                    tests.mcnemar(name) if other and key == f"{split}.accuracy" else None,
                    tests.bootstrap(name, key) if other else None,
                )
            )
        scores[key if key == paper else f"{key} (paper: {paper})"] = lines
    return Comparison(baseline, split, tests.images, scores, tests.notes)


class _Tests:
    """Tests of each row against the baseline, over the seeds whose predictions of both are there."""

    def __init__(
        self, rows: dict[str, Runs], files: dict[str, dict[int, Path | None]], baseline: str, split: str
    ) -> None:
        self.split = split
        self.images = 0
        # Of each row: which answers of the baseline and of it are of one seed.
        self.pairs: dict[str, list[tuple[int, int]]] = {}
        self.notes = [
            f"{row}: predictions of seeds {', '.join(map(str, lost))} are not in DVC's cache, and not tested"
            for row, seeds in files.items()
            if (lost := [seed for seed, file in seeds.items() if not file])
        ]
        places = [
            (row, seed, file)
            for row, seeds in files.items()
            for seed, file in seeds.items()
            if file and files[baseline].get(seed)
        ]
        if all(row == baseline for row, _, _ in places):
            return
        self.answers, self.classes = significance.read([file for _, _, file in places], split)
        self.images = len(self.answers[0].labels)
        number = {(row, seed): place for place, (row, seed, _) in enumerate(places)}
        for row in rows:
            pairs = [
                (number[baseline, seed], number[row, seed]) for seed in files[row] if (row, seed) in number
            ]
            labels = [(self.answers[theirs].labels, self.answers[ours].labels) for theirs, ours in pairs]
            if all(np.array_equal(theirs, ours) for theirs, ours in labels):
                self.pairs[row] = pairs
            else:
                self.notes.append(
                    f"{row}: scored on other images, or with other labels, than {baseline}: not tested"
                )

    def mcnemar(self, row: str) -> float | None:
        pairs = self.pairs.get(row)
        if not pairs or not self.images:
            return None
        theirs, ours = zip(*pairs, strict=True)
        return significance.mcnemar([self.answers[i] for i in theirs], [self.answers[i] for i in ours])

    def bootstrap(self, row: str, key: str) -> float | None:
        split, _, score = key.partition(".")
        pairs = self.pairs.get(row)
        if not pairs or not self.images or split != self.split or score not in self._resampled[0]:
            return None
        drawn = [self._resampled[ours][score] - self._resampled[theirs][score] for theirs, ours in pairs]
        p = significance.bootstrap(np.mean(drawn, axis=0))
        return None if math.isnan(p) else p

    @cached_property
    def _resampled(self) -> list[dict[str, np.ndarray]]:
        return significance.resampled(self.answers, self.classes)


def _moved(key: str, split: str) -> str:
    """Return the key at which a score on test is read."""
    return re.sub(r"^test\.", f"{split}.", key)


def _asked(keys: list[str] | None, finished: list[Scores], split: str) -> list[str]:
    """Return the keys that were asked for, one for each that a `*` stands for; the headline's if none were."""
    if not keys:
        return [f"{split}.{score}" for score in HEADLINE]
    known = dict.fromkeys(key for scores in finished for key in _flat(scores))
    asked: list[str] = []
    for key in keys:
        if not (found := fnmatch.filter(known, _moved(key, split))):
            raise UserError(f"score: found {key!r}, which no finished run has")
        asked += found
    return asked


def _flat(scores: Scores, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all numbers."""
    for key, value in scores.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif at(scores, key) is not None:
            yield f"{prefix}{key}"


def _values(runs: Runs, key: str) -> dict[int, float]:
    """Return a score by seed, of the runs that have it."""
    return {seed: value for seed, scores in runs.items() if (value := at(scores, key)) is not None}
