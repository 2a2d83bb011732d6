"""Compare the rows of a recipe with one of them, the baseline: paired differences over seeds, intervals and tests.

Two runs with the same seed start from the same weights and see the faces in the same order. If the splits are drawn at
random, the seed decides them, so both runs have the same splits. From seed to seed, the difference of the two runs'
scores therefore varies less than the scores themselves. The interval shows how much the difference may change with
other seeds. The tests in `pipeline.experiments.significance` ask whether the difference would also appear on other
images. Even if two rows do not really differ, about one 95 % interval in twenty excludes 0, and about one test in
twenty has p < 0.05.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import NamedTuple

from scipy.special import stdtrit  # importing scipy.stats takes half a second

from pipeline.core.errors import UserError
from pipeline.core.progress import in_yaml
from pipeline.evaluation.warnings import warnings
from pipeline.experiments.pairing import PairedTests, PredictionsBySeed
from pipeline.experiments.recipes import Overrides, Recipe, equal_rows
from pipeline.experiments.scores import HEADLINE, EvaluationBySeed, matching_keys, on_split, score_at
from pipeline.experiments.states import State, state_of

LEVEL = 0.95
ROUNDING = 1e-12  # an interval that is narrower is a point


class Difference(NamedTuple):
    """A row's score minus the baseline's, over the seeds that both have.

    Attributes:
        pairs: number of seeds that both have.
        mean: mean difference; None without such seeds.
        low, high: ends of the interval; None with fewer than two such seeds.
    """

    pairs: int
    mean: float | None
    low: float | None
    high: float | None

    def is_clear(self) -> bool:
        """Return whether there is an interval that excludes 0.

        An interval that is only a point does not count, because it merely comes from equal differences.
        """
        if self.low is None or self.high is None or self.high - self.low < ROUNDING:
            return False
        return self.low > 0 or self.high < 0


def difference(baseline: dict[int, float], row: dict[int, float]) -> Difference:
    """Return the mean difference between a row and the baseline with the 95 % interval of the paired t-test.

    The interval is mean ± t * s / sqrt(n). s is the standard deviation of the n differences, and t the 97.5 % quantile
    of Student's distribution with n - 1 degrees of freedom (Student 1908). If all differences are equal, the interval
    is a point.

    Args:
        baseline: score of each run of the baseline, by seed.
        row: score of each run of the row, by seed.
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


class ComparedRow(NamedTuple):
    """A row of the table of one score, such as accuracy.

    Attributes:
        name: name of the row.
        values: score of each finished run, by seed.
        paper: the paper's score; None if the paper has none.
        difference: difference from the baseline; None for the baseline itself.
        mcnemar_p, bootstrap_p: p-values of the difference; None if it could not be tested.
    """

    name: str
    values: dict[int, float]
    paper: float | None
    difference: Difference | None
    mcnemar_p: float | None
    bootstrap_p: float | None

    def mean(self) -> float | None:
        """Return the mean over the seeds; None without runs."""
        return statistics.fmean(self.values.values()) if self.values else None

    def spread(self) -> float | None:
        """Return the standard deviation over the seeds; None with fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


class Comparison(NamedTuple):
    """The rows of a recipe compared with one of them, the baseline.

    Attributes:
        recipe: the recipe.
        baseline: name of the baseline row.
        split: the split whose images the tests use.
        images: number of these images; 0 without predictions.
        scores: rows by the key of our score.
        paper_keys: maps the key of each of our scores to the key of the paper's score shown beside it. A
            key of ours is absent if the paper has no such score for any row.
        states: state of each row.
        notes: sentences of several kinds: warnings about the reliability of the scores; runs that are left out; equal
            rows; settings that can change a row's images or labels; why differences or p-values are missing.
    """

    recipe: Recipe
    baseline: str
    split: str
    images: int
    scores: dict[str, list[ComparedRow]]
    paper_keys: dict[str, str]
    states: dict[str, State]
    notes: list[str]


def compare(
    recipe: Recipe,
    evaluations: dict[str, EvaluationBySeed],
    predictions: dict[str, PredictionsBySeed],
    baseline: str | None = None,
    keys: list[str] | None = None,
    *,
    stale: dict[str, dict[int, str]] | None = None,
    settings: dict[str, Overrides] | None = None,
    short: bool = False,
    all_rows: bool = False,
) -> Comparison:
    """Compare the rows of a recipe with the baseline.

    The scores are those on test if every finished run has scores on test, else those on valid. P-values are for scores
    on the same split, or on valid if `keys` name no other split. A row that is scored on
    other images or labels than the baseline has no difference and no p-values.

    Args:
        recipe: the rows and the paper's scores.
        evaluations: contents of `metrics/evaluate.json` of the finished runs, by row and seed.
        predictions: prediction files of these runs, by row and seed; None for a file that DVC's cache has lost.
        baseline: name of the baseline row; the first row with runs if None.
        keys: dotted keys of the scores. `*` stands for any text in a key, dots included. If empty or None: every
            score that the paper gives for some row, and also accuracy, macro recall and macro F1.
        stale: the finished runs that are left out, by row and seed, each with a text that says how its settings,
            code or data differ from those of now.
        settings: all settings of each row. The notes name those that differ from the baseline's and can change a row's
            images or labels.
        short: whether the runs are of the short form.
        all_rows: whether rows without runs are kept.

    Raises:
        UserError: the recipe has no row with the baseline's name, or no finished run has a score with one of the keys.
    """
    with_runs = [row for row, runs in evaluations.items() if runs]
    baseline = baseline or next(iter(with_runs or evaluations))
    if baseline not in evaluations:
        raise UserError.of("baseline", repr(baseline), evaluations)
    stale = stale or {}
    rows = {
        name: row for name, row in recipe.rows().items() if all_rows or evaluations[name] or stale.get(name)
    }
    finished = [evaluation for seeds in evaluations.values() for evaluation in seeds.values()]
    split = "test" if all("test" in evaluation for evaluation in finished) else "valid"
    # If our scores are on valid, each is shown beside the paper's score on valid or, if the paper has none on valid,
    # beside its score on test.
    papers = sorted(
        {key: 0 for row in rows.values() for key in row.paper}, key=lambda key: key.startswith("valid.")
    )
    paper_keys = {on_split(key, split): key for key in papers}
    chosen = matching_keys(keys, finished, split) if keys else [f"{split}.{score}" for score in HEADLINE]
    shown = {
        row: ours for row, ours in (settings or {}).items() if evaluations[row] and evaluations[baseline]
    }
    others = _other_labels(shown, baseline)
    # Whoever asks for scores on valid alone gets the tests on valid.
    tested = "valid" if all(key.startswith("valid.") for key in chosen) else split
    tests = PairedTests(evaluations, predictions, baseline, tested, set(others))
    scores = {}
    for key in chosen if keys else dict.fromkeys([*paper_keys, *chosen]):
        values = {
            name: {seed: value for seed, run in seeds.items() if (value := score_at(run, key)) is not None}
            for name, seeds in evaluations.items()
        }
        scores[key] = [
            ComparedRow(
                name,
                values[name],
                row.paper.get(paper_keys.get(key, key)),
                difference(values[baseline], values[name]) if tests.comparable(name, key) else None,
                tests.mcnemar_p(name) if key == f"{tested}.accuracy" else None,
                tests.bootstrap_p(name, key),
            )
            for name, row in rows.items()
        ]
    states = {
        name: state_of(row.paper, evaluations[name], recipe.runs, short=short, stale=bool(stale.get(name)))
        for name, row in rows.items()
    }
    notes = [
        *_warnings(evaluations),
        *_stale_notes(stale),
        *equal_rows({row: values for row, values in (settings or {}).items() if row in rows}),
        *(
            f"{row}: settings that can change images or labels differ from {baseline}: {'; '.join(words)}"
            for row, words in others.items()
        ),
        *tests.notes,
    ]
    if not evaluations[baseline]:
        notes.append(f"{baseline}, the baseline, has no finished run; `--baseline` names another row")
    return Comparison(recipe, baseline, tested, tests.images, scores, paper_keys, states, notes)


def _warnings(evaluations: dict[str, EvaluationBySeed]) -> Iterator[str]:
    """Yield the warnings about the scores of the runs.

    If a warning applies only to some of the rows that have runs, it starts with the names of those rows.
    """
    rows: dict[str, list[str]] = {}
    for row, seeds in evaluations.items():
        for warning in dict.fromkeys(warning for run in seeds.values() for warning in warnings(run)):
            rows.setdefault(warning, []).append(row)
    count = sum(bool(seeds) for seeds in evaluations.values())
    for warning, names in rows.items():
        yield warning if len(names) == count else f"{', '.join(names)}: {warning}"


def _stale_notes(stale: dict[str, dict[int, str]]) -> Iterator[str]:
    for row, seeds in stale.items():
        for why in dict.fromkeys(seeds.values()):
            those = ", ".join(str(seed) for seed in seeds if seeds[seed] == why)
            yield f"{row}: stale: {why} (seeds {those}); `fer recipe run` runs them anew"


def _other_labels(settings: dict[str, Overrides], baseline: str) -> dict[str, list[str]]:
    """Return, for each row, the settings that can give it other images or labels than the baseline, in words.

    Rows without such settings are left out.
    """
    theirs = settings.get(baseline, {})
    words = {
        row: [
            f"{key} {in_yaml(value)}, not {in_yaml(theirs.get(key))}"
            for key, value in ours.items()
            if key.startswith(("classes", "datasets", "ingest.", "labels.")) and value != theirs.get(key)
        ]
        for row, ours in settings.items()
    }
    return {row: differing for row, differing in words.items() if differing}
