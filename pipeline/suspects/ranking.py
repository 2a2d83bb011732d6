"""Rank faces by how much a classifier doubts their labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from cleanlab.rank import get_label_quality_scores


class Ranking(NamedTuple):
    """The suspects, the most doubtful first.

    Attributes:
        rows: of the faces, int [M].
        suggested: the most probable class of each, which is not its label, int [M].
    """

    rows: np.ndarray
    suggested: np.ndarray

    def first(self, count: int) -> Ranking:
        """Return the most doubtful ones."""
        return Ranking(self.rows[:count], self.suggested[:count])


def rank(labels: np.ndarray, probabilities: np.ndarray, judged: np.ndarray) -> Ranking:
    """Return the faces whose label is not the most probable class, by the probability of their label.

    On FER+ with wrong labels, more of the first were wrong in this order than in that of the margin between the label
    and the most probable class (benchmarks/README.md).

    Args:
        labels: class indices, int [N].
        probabilities: of a classifier that has not seen the face, [N, K].
        judged: faces that may be suspects, bool [N].
    """
    confidence = get_label_quality_scores(labels, probabilities, method="self_confidence")
    order = np.argsort(confidence, kind="stable")
    suggested = probabilities.argmax(axis=1)
    rows = order[((suggested != labels) & judged)[order]]
    return Ranking(rows, suggested[rows])
