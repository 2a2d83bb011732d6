"""Scores by group: the faces that share a value of an attribute, such as gender or age, and the gap between groups."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pipeline.evaluation.intervals import FEW, chance_gaps, intervals
from pipeline.evaluation.metrics import headline
from pipeline.tables.attributes import GAP, UNKNOWN
from pipeline.tables.columns import Texts, encoded

SCORES = ("accuracy", "macro_recall", "macro_f1")


def group_scores(
    values: Texts,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: list[str],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Score the faces of each value of an attribute, and return the gaps between the values.

    Args:
        values: the value of each face, [N]; `unknown` where it is not known.
        labels: true classes, [N] integers from 0 to K - 1.
        predicted: predicted classes, [N] integers in the same range.
        classes: K names in label order.
        resamples, seed: as in `intervals`.

    Returns:
        - `<value>` of each value that occurs, in the order of their numbers (4-19 before 20-39) and `unknown` last:
          `support` (number of faces), `accuracy`, `macro_recall`, `macro_f1`, `classes` and `interval`. As in the
          scores of a whole split, macro scores are means over the classes that have faces: here, faces of this value.
        - `gap`: for each of the three scores the largest difference between two values. Only values with at least 30
          faces take part, and `unknown` does not, as it is no group of people. None if fewer than two take part.
          `gap.chance` has the gaps that chance alone makes between these groups (`chance_gaps`). It is empty
          if there are no gaps or no resamples.
    """
    names, of = encoded(values)
    scores: dict[str, dict[str, Any]] = {}
    for value in sorted(names, key=_order):
        rows = of == names.index(value)
        row = headline(labels[rows], predicted[rows], classes)
        bounds = intervals(labels[rows], predicted[rows], len(classes), resamples, seed)
        scores[value] = {"support": row.pop("images"), **row, "interval": bounds}
    compared = [value for value, row in scores.items() if value != UNKNOWN and row["support"] >= FEW]
    gap: dict[str, Any] = {**dict.fromkeys(SCORES), "chance": {}}
    if len(compared) > 1:
        gap |= {key: float(np.ptp([scores[value][key] for value in compared])) for key in SCORES}
        if resamples:
            rows = np.isin(of, [names.index(value) for value in compared])
            gap["chance"] = chance_gaps(
                labels[rows], predicted[rows], of[rows], len(classes), resamples, seed
            )
    return scores | {GAP: gap}


def _order(value: str) -> tuple[bool, list[str | int]]:
    """Return a sort key: numbers in a text count as numbers, and `unknown` comes last."""
    parts = re.split(r"([0-9]+)", value)
    return value == UNKNOWN, [int(part) if i % 2 else part for i, part in enumerate(parts)]
