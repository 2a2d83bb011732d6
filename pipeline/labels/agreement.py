"""Measures of agreement between annotators. They do not depend on the rule that turns votes into labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.tables.vocabulary import VOTES

# Reported pairs of a first and a second choice. All hundred pairs would hide the rest of the metrics.
PAIRS = 10
ROWS = 4096  # images whose pairs of votes are counted at a time


def summary(votes: np.ndarray, vocabulary: Sequence[str] = VOTES) -> dict[str, Any]:
    """Return measures of agreement, which show how difficult the task is.

    Args:
        votes: int [N, V], only of images with votes.
        vocabulary: V names in the order of the votes.

    Returns:
        Nothing if N is 0, otherwise

        - `images`: N.
        - `winning_share`: mean share of the entry with most votes, 0 to 1.
        - `entropy`: mean entropy of the votes in bits, 0 to log2 V.
        - `ties`: share of images in which two or more entries have most votes.
        - `fleiss_kappa`, `alpha`: agreement beyond chance, at most 1; left out if undefined. Alpha corrects for a
          small sample. If images have different numbers of votes, kappa gives images equal weight and alpha
          gives votes equal weight.
        - `second_choice`: `<first>_<second>` counts the images in which the first entry has most votes and the
          second entry has the next most, for the ten most frequent pairs. The first entry in the vocabulary wins a
          tie. The key is `<first>, <second>` if a name has a `_` itself.
    """
    if not len(votes):
        return {}
    shares = votes / votes.sum(axis=1, keepdims=True)
    most = votes.max(axis=1, keepdims=True)
    measures = {
        "images": len(votes),
        "winning_share": float(shares.max(axis=1).mean()),
        "entropy": float(entropy(votes).mean()),
        "ties": float(((votes == most).sum(axis=1) > 1).mean()),
    }
    coefficients = {"fleiss_kappa": fleiss_kappa(votes), "alpha": alpha(votes)}
    measures |= {name: value for name, value in coefficients.items() if value is not None}
    return {**measures, "second_choice": second_choices(votes, vocabulary)}


def entropy(votes: np.ndarray) -> np.ndarray:
    """Return the entropy in bits, 0 to log2 V, of the shares of each image's votes [N, V]: float64 [N]."""
    shares = votes / votes.sum(axis=1, keepdims=True)
    return -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), axis=1)


def second_choices(votes: np.ndarray, vocabulary: Sequence[str] = VOTES) -> dict[str, int]:
    """Count the most frequent pairs of first and second choice in votes [N, V], as in `summary`."""
    first, second = np.argsort(-votes, axis=1, kind="stable")[:, :2].T
    split = np.take_along_axis(votes, second[:, None], axis=1)[:, 0] > 0
    counts = np.bincount(first[split] * len(vocabulary) + second[split], minlength=len(vocabulary) ** 2)
    most = np.argsort(-counts, kind="stable")[:PAIRS]
    names = ((vocabulary[pair // len(vocabulary)], vocabulary[pair % len(vocabulary)]) for pair in most)
    return {
        (", " if "_" in "".join(pair) else "_").join(pair): int(count)
        for pair, count in zip(names, counts[most], strict=True)
        if count
    }


def alpha(votes: np.ndarray) -> float | None:
    """Return Krippendorff's nominal alpha (Krippendorff 2011) of votes [N, V], at most 1.

    Images with fewer than two votes do not count. None if nobody could have disagreed, as for `fleiss_kappa`.
    """
    counts = votes[votes.sum(axis=1) > 1]
    if counts.any(axis=0).sum() < 2:
        return None
    # Few images at a time: the pairs of all, [N, V, V], would not fit.
    same = np.eye(votes.shape[1])
    observed = np.zeros(same.shape)
    for start in range(0, len(counts), ROWS):
        some = counts[start : start + ROWS, :, None]
        pairs = (some * some.swapaxes(1, 2) - some * same) / (some.sum(axis=1, keepdims=True) - 1)
        observed = np.concatenate([observed[None], pairs]).sum(axis=0)
    total = observed.sum(axis=0)
    chance = (np.outer(total, total) - np.diag(total)) / (total.sum() - 1)
    return float(1 - (observed * (1 - same)).sum() / (chance * (1 - same)).sum())


def fleiss_kappa(votes: np.ndarray) -> float | None:
    """Return Fleiss' kappa (Fleiss 1971) of votes [N, V], at most 1.

    The agreement on an image is the share of its pairs of annotators that agree, so images may have different
    numbers of annotators. Images with fewer than two do not count. None if nobody could have disagreed: no
    image counts, or one entry has all votes.
    """
    counts = votes[votes.sum(axis=1) > 1].astype(np.float64)
    if not len(counts):
        return None
    raters = counts.sum(axis=1)
    observed = np.mean(((counts**2).sum(axis=1) - raters) / (raters * (raters - 1)))
    chance = np.sum((counts.sum(axis=0) / counts.sum()) ** 2)
    return None if chance == 1 else float((observed - chance) / (1 - chance))


def most_divided(votes: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `rows`, sorted by the entropy of their votes, greatest first.

    All entries count, also "unknown". Rows of equal entropy keep their order. Rows without votes, or with all votes
    for one entry, are left out.

    Args:
        votes: int [N, V] of the whole table.
        rows: indices into the table, ascending.
        count: greatest number of rows.
    """
    rows = rows[(votes[rows] > 0).sum(axis=1) > 1]
    # Rounded, because the order of the entries changes the last digit.
    return rows[np.argsort(-entropy(votes[rows]).round(9), kind="stable")[:count]]


def tied(votes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return those of `rows` in which two entries share the greatest number of votes.

    Rows are sorted by the share of such an entry, greatest first; equal rows keep their order. Arguments as in
    `most_divided`.
    """
    second, first = np.sort(votes[rows], axis=1)[:, -2:].T
    rows = rows[(first == second) & (first > 0)]
    shares = votes[rows].max(axis=1) / votes[rows].sum(axis=1)
    return rows[np.argsort(-shares, kind="stable")]
