"""How far annotators agree, whatever the rule that turns their votes into labels."""

from __future__ import annotations

import numpy as np


def describe(votes: np.ndarray) -> dict[str, float]:
    """Return what the votes [N, V] say about the task's difficulty, over the N pictures with votes.

    `winning_share` is the mean share of the entry with most votes, `entropy` the mean entropy of the votes in
    bits, `ties` the share of pictures with two or more entries in front, `fleiss_kappa` the agreement beyond
    chance, left out where it is not defined.
    """
    if not len(votes):
        return {}
    shares = votes / votes.sum(axis=1, keepdims=True)
    bits = -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), axis=1)
    most = votes.max(axis=1, keepdims=True)
    described = {
        "images": len(votes),
        "winning_share": float(shares.max(axis=1).mean()),
        "entropy": float(bits.mean()),
        "ties": float(((votes == most).sum(axis=1) > 1).mean()),
    }
    kappa = fleiss_kappa(votes)
    return described if kappa is None else {**described, "fleiss_kappa": kappa}


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
