"""How the votes for a picture become one label, or a distribution over classes.

`votes` is an integer array [N, 10] in the order of `schema.VOTES`. The rules' winners are places in that
vocabulary: `unknown` and `NF` can win, and whoever asks decides what that means.
"""

from __future__ import annotations

import numpy as np

from pipeline.tables.vocabulary import CLASSES, VOTES

NO_MAJORITY = -1


def plurality(votes: np.ndarray) -> np.ndarray:
    """Return the entry with most votes, [N]; the first one wins a tie (the MixCut paper's rule)."""
    return votes.argmax(axis=1)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the entry with more than half of the votes, [N], single votes set aside; else `NO_MAJORITY`.

    The rule of Barsoum et al. 2016, section 4: a single vote for an entry is taken for a slip.
    """
    counted = np.where(votes == 1, 0, votes)
    above_half = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(above_half, counted.argmax(axis=1), NO_MAJORITY)


# `distribution` trains on the shares of the votes; the label that it is scored by is the plurality's.
RULES = {"plurality": plurality, "majority": majority, "distribution": plurality}


def merged(votes: np.ndarray, merge: dict[str, str]) -> np.ndarray:
    """Return votes [N, 10] with those for a class that is merged counted for the class it is merged into."""
    votes = votes.copy()
    for name, into in merge.items():
        votes[:, VOTES.index(into)] += votes[:, VOTES.index(name)]
        votes[:, VOTES.index(name)] = 0
    return votes


def too_weak(votes: np.ndarray, winners: np.ndarray, min_votes: int, min_share: float) -> np.ndarray:
    """Return why a winner has too little support, [N]: `min_votes`, `min_share`; else "".

    Args:
        votes: int [N, 10]; rows without votes, of pictures with one label, have support enough.
        winners: places in the vocabulary, [N].
        min_votes: least number of votes for the winner.
        min_share: least share of the winner in all votes for the picture, 0 to 1.
    """
    support, total = votes[np.arange(len(votes)), winners], votes.sum(axis=1)
    # Divided, not multiplied: 11 of 20 votes are 0.55, but 0.55 * 20 is more than 11.
    low = support / np.maximum(total, 1) < min_share
    reasons = np.select([support < min_votes, low], ["min_votes", "min_share"], "")
    return np.where(total > 0, reasons, "")


def one_hot(winners: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return targets, float32 [N, K] in the order of `classes`; zeros where the winner is none of them."""
    columns = np.array([VOTES.index(name) for name in classes])
    return (winners[:, None] == columns).astype(np.float32)


def shares(votes: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return the shares of the votes for `classes`, float32 [N, K], sum 1; zeros where none has a vote."""
    chosen = votes[:, [VOTES.index(name) for name in classes]].astype(np.float64)
    total = chosen.sum(axis=1, keepdims=True)
    return np.divide(chosen, total, out=np.zeros_like(chosen), where=total > 0).astype(np.float32)


def why_dropped(winners: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return why a winner is no label, [N]: `no_majority`, `unknown`, `NF`, `class_<name>`; else ""."""
    reasons = [
        "" if name in classes else f"class_{name}" if name in CLASSES else name
        for name in (*VOTES, "no_majority")
    ]
    return np.array(reasons)[winners]  # NO_MAJORITY is the last place
