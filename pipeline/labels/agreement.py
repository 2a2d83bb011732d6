"""How far annotators agree, whatever the rule that turns their votes into labels."""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np

from pipeline.tables.vocabulary import VOTES

# Pairs of a first and a second choice that are reported: a table of all hundred would drown every comparison.
PAIRS = 10


def describe(votes: np.ndarray) -> dict[str, Any]:
    """Return what the votes say about the task's difficulty.

    Args:
        votes: int [N, V] in the order of `schema.VOTES`, of the pictures with votes; {} if there is none.

    Returns:
        - `images`: N.
        - `winning_share`: mean share of the entry with most votes, 0 to 1.
        - `entropy`: mean entropy of the votes in bits, 0 to log2 V.
        - `ties`: share of pictures with two or more entries in front.
        - `fleiss_kappa`, `alpha`: agreement beyond chance, at most 1, left out where it is not defined. They
          differ by the correction for a small sample, and where pictures have different numbers of votes: kappa
          weights pictures alike, alpha votes.
        - `second_choice`: `<first>_<second>` counts the pictures whose entry with most votes is the first and
          with next most the second, for the ten most frequent pairs. The first entry wins a tie.
    """
    if not len(votes):
        return {}
    shares = votes / votes.sum(axis=1, keepdims=True)
    most = votes.max(axis=1, keepdims=True)
    described = {
        "images": len(votes),
        "winning_share": float(shares.max(axis=1).mean()),
        "entropy": float(entropy(votes).mean()),
        "ties": float(((votes == most).sum(axis=1) > 1).mean()),
    }
    coefficients = {"fleiss_kappa": fleiss_kappa(votes), "alpha": alpha(votes)}
    defined = {name: value for name, value in coefficients.items() if value is not None}
    return {**described, **defined, "second_choice": second_choices(votes)}


def entropy(votes: np.ndarray) -> np.ndarray:
    """Return the entropy in bits, 0 to log2 V, of the shares of each picture's votes [N, V]: float64 [N]."""
    shares = votes / votes.sum(axis=1, keepdims=True)
    return -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), axis=1)


def second_choices(votes: np.ndarray) -> dict[str, int]:
    """Return the most frequent pairs of first and second choice of votes [N, V], as `describe` says."""
    first, second = np.argsort(-votes, axis=1, kind="stable")[:, :2].T
    split = np.take_along_axis(votes, second[:, None], axis=1)[:, 0] > 0
    counts = np.bincount(first[split] * len(VOTES) + second[split], minlength=len(VOTES) ** 2)
    most = np.argsort(-counts, kind="stable")[:PAIRS]
    return {
        f"{VOTES[pair // len(VOTES)]}_{VOTES[pair % len(VOTES)]}": int(counts[pair])
        for pair in most
        if counts[pair]
    }


def alpha(votes: np.ndarray) -> float | None:
    """Return Krippendorff's nominal alpha (Krippendorff 2011) of votes [N, V], at most 1.

    Pictures with fewer than two votes tell nothing. None if nobody could have disagreed, as for `fleiss_kappa`.
    """
    # Votes are counted per picture: a table of annotators would hold a column for each of them.
    counts = votes[votes.sum(axis=1) > 1]
    if counts.any(axis=0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def fleiss_kappa(votes: np.ndarray) -> float | None:
    """Return Fleiss' kappa (Fleiss 1971) of votes [N, V], at most 1.

    A picture's agreement is the share of its pairs of annotators that agree, so that pictures may have
    different numbers of annotators; those with fewer than two tell nothing. None if nobody could have
    disagreed: no such picture, or one entry with all the votes.
    """
    counts = votes[votes.sum(axis=1) > 1].astype(np.float64)
    if not len(counts):
        return None
    raters = counts.sum(axis=1)
    observed = np.mean(((counts**2).sum(axis=1) - raters) / (raters * (raters - 1)))
    chance = np.sum((counts.sum(axis=0) / counts.sum()) ** 2)
    return None if chance == 1 else float((observed - chance) / (1 - chance))


def most_divided(votes: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `rows`, those whose votes have the greatest entropy, the greatest first.

    All entries count, "unknown" too. Of equals the first in the table comes first. Rows with all votes for one
    entry, or without votes, are not in dispute.

    Args:
        votes: int [N, V] of the whole table.
        rows: places in the table, ascending.
        count: how many.
    """
    rows = rows[(votes[rows] > 0).sum(axis=1) > 1]
    # Rounded: which entries have the votes must not matter, not even in the last digit.
    return rows[np.argsort(-entropy(votes[rows]).round(9), kind="stable")[:count]]


def tied(votes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return those of `rows` that have two entries in front with equal votes.

    Those in which the two have the greatest share of the votes come first, of equals the first in the table.
    Arguments as in `most_divided`.
    """
    second, first = np.sort(votes[rows], axis=1)[:, -2:].T
    rows = rows[(first == second) & (first > 0)]
    shares = votes[rows].max(axis=1) / votes[rows].sum(axis=1)
    return rows[np.argsort(-shares, kind="stable")]
