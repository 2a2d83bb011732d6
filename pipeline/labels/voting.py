"""Turn the votes for an image into one label, or into a distribution over classes.

`votes` is an integer array [N, V] in the order of a vocabulary of V names: those of FER+ (`VOTES`), and behind them the
other classes of the data sets. The rules return indices into the vocabulary, so `unknown` and `NF` can win;
`why_dropped` handles them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.params.model import Labels
from pipeline.tables.columns import Texts, encoded
from pipeline.tables.vocabulary import NO_CLASS, VOTES

NO_MAJORITY = -1


def plurality(votes: np.ndarray) -> np.ndarray:
    """Return the entry with most votes, [N]. The first entry wins a tie, as in the MixCut paper."""
    return votes.argmax(axis=1)


def without_single(votes: np.ndarray) -> np.ndarray:
    """Return votes [N, V] with single votes set to 0 (Barsoum et al. 2016, section 4)."""
    return np.where(votes == 1, 0, votes)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the entry with more than half of the votes, [N], or `NO_MAJORITY`.

    An entry with a single vote does not count. The rule is from Barsoum et al. 2016, section 4.
    """
    counted = without_single(votes)
    above_half = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(above_half, counted.argmax(axis=1), NO_MAJORITY)


# `distribution` trains on the shares of the votes. Its label, which scores use, is that of `plurality`.
RULES = {"plurality": plurality, "majority": majority, "distribution": plurality}


def merged(votes: np.ndarray, merge: dict[str, str], vocabulary: Sequence[str] = VOTES) -> np.ndarray:
    """Return votes [N, V] with the votes for each key of `merge` added to the class that is its value."""
    votes = votes.copy()
    for name, into in merge.items():
        if name in vocabulary:
            votes[:, vocabulary.index(into)] += votes[:, vocabulary.index(name)]
            votes[:, vocabulary.index(name)] = 0
    return votes


def decide(
    votes: np.ndarray,
    single: Texts,
    classes: Sequence[str],
    settings: Labels,
    vocabulary: Sequence[str] = VOTES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the winner, the target and the reason to drop each image.

    Args:
        votes: int [N, V]; zeros for images with a single label.
        single: the labels of the images without votes, in order.
        classes: names in label order, K.
        settings: the block `labels` of `params.yaml`.
        vocabulary: V names, all of `classes` among them.

    Returns:
        Indices into `vocabulary`, or `NO_MAJORITY`, [N]; float32 [N, K]; texts, [N], "" for a usable label.
    """
    voted = votes.any(axis=1)
    votes = merged(votes, settings.merge, vocabulary)
    winners = RULES[settings.rule](votes)
    names, places = encoded(single)
    winners[~voted] = np.array([vocabulary.index(settings.merge.get(name, name)) for name in names], int)[
        places
    ]
    targets = one_hot(winners, classes, vocabulary)
    if settings.rule == "distribution":
        cast = votes[voted]
        if settings.drop_single:  # unless no entry has more than one vote: nothing would be left
            cast = np.where(cast.max(axis=1, keepdims=True) > 1, without_single(cast), cast)
        targets[voted] = shares(cast, classes, vocabulary)
    no_label = why_dropped(winners, classes, vocabulary)
    weak = too_weak(votes, winners, settings.min_votes, settings.min_share)
    return winners, targets, np.where(no_label == "", weak, no_label)


def too_weak(votes: np.ndarray, winners: np.ndarray, min_votes: int, min_share: float) -> np.ndarray:
    """Return which limit the support of a winner misses, [N]: `min_votes` or `min_share`; "" for none.

    Args:
        votes: int [N, V]. Images with a single label have no votes and miss no limit.
        winners: indices into the vocabulary, [N].
        min_votes: least number of votes for the winner.
        min_share: least share of the winner in all votes for the image, 0 to 1.
    """
    support, total = votes[np.arange(len(votes)), winners], votes.sum(axis=1)
    # Divide, do not multiply: 11 / 20 is 0.55, but 0.55 * 20 is more than 11.
    low = support / np.maximum(total, 1) < min_share
    reasons = np.select([support < min_votes, low], ["min_votes", "min_share"], "")
    return np.where(total > 0, reasons, "")


def one_hot(winners: np.ndarray, classes: Sequence[str], vocabulary: Sequence[str] = VOTES) -> np.ndarray:
    """Return targets, float32 [N, K] in the order of `classes`; zeros if the winner is none of them."""
    columns = np.array([vocabulary.index(name) for name in classes])
    return (winners[:, None] == columns).astype(np.float32)


def shares(votes: np.ndarray, classes: Sequence[str], vocabulary: Sequence[str] = VOTES) -> np.ndarray:
    """Return the shares of the votes for `classes`, float32 [N, K]. They sum to 1, or to 0 without such votes."""
    chosen = votes[:, [vocabulary.index(name) for name in classes]].astype(np.float64)
    total = chosen.sum(axis=1, keepdims=True)
    return np.divide(chosen, total, out=np.zeros_like(chosen), where=total > 0).astype(np.float32)


def why_dropped(winners: np.ndarray, classes: Sequence[str], vocabulary: Sequence[str] = VOTES) -> np.ndarray:
    """Return why a winner is no label, [N]: `no_majority`, `unknown`, `NF`, `class_<name>`; "" for a label."""
    reasons = [
        "" if name in classes else name if name in NO_CLASS else f"class_{name}" for name in vocabulary
    ]
    return np.array([*reasons, "no_majority"], object)[winners]  # NO_MAJORITY is -1, the last entry
