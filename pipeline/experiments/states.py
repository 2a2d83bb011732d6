"""State of a row: run at length or not, and whether its scores are those of the paper."""

from __future__ import annotations

import statistics
from enum import StrEnum
from typing import Any

from pipeline.experiments.scores import EvaluationBySeed, score_at

# The paper's score may be at most this many standard deviations away from the mean of our runs.
RANGE_STDS = 2


class State(StrEnum):
    """State how far a row has come towards the paper's scores."""

    STALE = "stale"
    SHORT_FORM = "short form"
    NOT_AT_LENGTH = "not run at length"
    AT_LENGTH = "run at length"
    REPRODUCED = "reproduced"
    DIFFERS = "differs"


_FINISHED = "the row's runs with {seeds} have finished in full form, and"
_RANGE = f"our mean ± {RANGE_STDS} standard deviations (with one run: the 95 % interval over the images)."
MEANINGS = {
    State.STALE: "some finished runs are left out, because their settings, code or data have changed since.",
    State.SHORT_FORM: "these runs use the settings of the short form. Compare them only with each other.",
    State.NOT_AT_LENGTH: "not all of the row's runs with {seeds} have finished in full form.",
    State.AT_LENGTH: f"{_FINISHED} no score of a paper can be compared with them.",
    State.REPRODUCED: f"{_FINISHED} each score of the paper that can be compared is within {_RANGE}",
    State.DIFFERS: f"{_FINISHED} a score of the paper's is outside {_RANGE}",
}


def state_of(
    paper: dict[str, float], evaluations: EvaluationBySeed, runs: int, *, short: bool, stale: bool
) -> State:
    """Return the state of a row.

    A score of the paper counts if each of our runs reports a score of the same kind on the same split. If
    there is only one run, its score must also have an interval.

    Args:
        paper: the paper's scores by dotted key.
        evaluations: contents of `metrics/evaluate.json` of the row's finished runs, by seed.
        runs: number of runs that the recipe asks for, with the seeds 1 to `runs`.
        short: whether the runs are of the short form.
        stale: whether runs were left out, because their settings, code or data have changed since.
    """
    if stale:
        return State.STALE
    if short and evaluations:
        return State.SHORT_FORM
    if not evaluations.keys() >= set(range(1, runs + 1)):
        return State.NOT_AT_LENGTH
    compared = [_is_within(score, key, list(evaluations.values())) for key, score in paper.items()]
    if all(within is None for within in compared):
        return State.AT_LENGTH
    return State.DIFFERS if False in compared else State.REPRODUCED


def _is_within(score: float, key: str, evaluations: list[dict[str, Any]]) -> bool | None:
    """Return whether a score of the paper is within the range of our runs; None if there is no range."""
    values = [value for evaluation in evaluations if (value := score_at(evaluation, key)) is not None]
    if len(values) < len(evaluations):
        return None
    if len(values) > 1:
        return abs(score - statistics.fmean(values)) <= RANGE_STDS * statistics.stdev(values)
    block, _, name = key.rpartition(".")
    low, high = (score_at(evaluations[0], f"{block}.interval.{name}.{end}") for end in ("low", "high"))
    return None if low is None or high is None else low <= score <= high
