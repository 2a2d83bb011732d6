"""Read scores of finished runs by their dotted key in `metrics/evaluate.json`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.core.errors import UserError

HEADLINE = ("accuracy", "macro_recall", "macro_f1")

EvaluationBySeed = dict[int, dict[str, Any]]  # metrics/evaluate.json of the runs of a row


def score_at(evaluation: dict[str, Any], key: str) -> float | None:
    """Return the number at a dotted key; None if there is none."""
    value: Any = evaluation
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def on_split(key: str, split: str) -> str:
    """Replace `test` at the start of a key with the split whose scores are compared."""
    return re.sub(r"^test\.", f"{split}.", key)


def matching_keys(patterns: Iterable[str], evaluations: list[dict[str, Any]], split: str) -> list[str]:
    """Return the keys of scores that match patterns. `*` stands for any text in a key, dots included.

    Raises:
        UserError: no evaluation has a score that matches a pattern.
    """
    known = dict.fromkeys(key for evaluation in evaluations for key in _number_keys(evaluation))
    matching: list[str] = []
    for pattern in patterns:
        if not (keys := fnmatch.filter(known, on_split(pattern, split))):
            raise UserError.of(
                "--score", repr(pattern), "a key of a number in metrics/evaluate.json of a finished run"
            )
        matching += keys
    return matching


def _number_keys(evaluation: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all numbers."""
    for key, value in evaluation.items():
        if isinstance(value, dict):
            yield from _number_keys(value, f"{prefix}{key}.")
        elif score_at(evaluation, key) is not None:
            yield f"{prefix}{key}"
