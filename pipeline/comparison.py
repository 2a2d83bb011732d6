"""Rows of a recipe beside one of them, the baseline: paired differences over seeds, with their intervals.

Runs of one seed draw the same first weights and order of faces, and the same splits where these are drawn: their
difference varies less than they do. Its interval covers what other seeds would change, not other test images, which
`pipeline.evaluation.intervals` covers. Of many intervals one in twenty excludes 0 by chance.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, NamedTuple

from scipy.special import stdtrit  # scipy.stats has the same, and takes half a second to import
from tabulate import tabulate

from pipeline.errors import UserError

LEVEL = 0.95

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


def headline(rows: dict[str, Runs]) -> list[str]:
    """Return the keys of accuracy, macro recall, macro F1 and each class's recall.

    On test if all runs have it, else on valid.
    """
    runs = [scores for seeds in rows.values() for scores in seeds.values()]
    split = "test" if all("test" in scores for scores in runs) else "valid"
    classes = dict.fromkeys(name for scores in runs for name in scores.get(split, {}).get("per_class", {}))
    recalls = [f"{split}.per_class.{name}.recall" for name in classes]
    return [f"{split}.accuracy", f"{split}.macro_recall", f"{split}.macro_f1", *recalls]


def report(rows: dict[str, Runs], baseline: str | None = None, keys: list[str] | None = None) -> str:
    """Return a table in Markdown, one line per score and one column per row, and the sentences above it.

    Args:
        rows: the finished runs of each row of a recipe.
        baseline: the row that the others are compared with; the first one if None.
        keys: dotted keys of scores; those of `headline` if None or empty.

    Raises:
        UserError: no such row, none to compare it with, no run, or no run has a score that was asked for.
    """
    baseline = baseline or next(iter(rows))
    if baseline not in rows:
        raise UserError(f"baseline: found {baseline!r}, allowed: {', '.join(rows)}")
    others = [name for name in rows if name != baseline]
    if not others:
        raise UserError(f"found one row, {baseline}: there is nothing to compare it with")
    if not any(rows.values()):
        raise UserError(
            "found no finished run: `fer recipe run` makes them, `dvc queue status` shows how far it is"
        )
    for key in keys or []:
        if not any(_values(runs, key) for runs in rows.values()):
            raise UserError(f"score: found {key!r}, which no finished run has")
    keys = keys or headline(rows)
    pairs = {name: len(rows[baseline].keys() & rows[name].keys()) for name in others}
    lines = []
    for key in keys:
        own = _values(rows[baseline], key)
        found = {name: difference(own, _values(rows[name], key)) for name in others}
        lines.append([key, _own(own), *(_cell(found[name], pairs[name]) for name in others)])
    splits = ", ".join(dict.fromkeys(key.split(".")[0] for key in keys))
    return (
        f"Scores on {splits}. {baseline}: mean ± standard deviation of {len(rows[baseline])} runs. The others: mean "
        f"difference to {baseline} over\nruns of equal seeds [{LEVEL:.0%} interval, Student's t over these pairs]; "
        "* where the interval excludes 0.\n"
        f"Pairs: {', '.join(f'{name} {count}' for name, count in pairs.items())}.\n\n"
        + tabulate(lines, ["score", baseline, *others], tablefmt="github", disable_numparse=True)
    )


def _values(runs: Runs, key: str) -> dict[int, float]:
    """Return a score by seed, of the runs that have it."""
    return {seed: value for seed, scores in runs.items() if (value := at(scores, key)) is not None}


def _own(values: dict[int, float]) -> str:
    spread = f" ± {statistics.stdev(values.values()):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values.values()):.4f}{spread}" if values else "-"


def _cell(found: Difference, pairs: int) -> str:
    """Return a difference as text; with its pairs where a score is not defined in all of the row's."""
    if found.mean is None:
        return "-"
    interval = "[-]" if found.low is None else f"[{found.low:+.4f}, {found.high:+.4f}]"
    fewer = "" if found.pairs == pairs else f" ({found.pairs} of {pairs} pairs)"
    return f"{found.mean:+.4f} {interval}{' *' if found.is_clear() else ''}{fewer}"
