"""Splits that a data set does not publish, drawn from its training pictures.

Stratified by label, and no group in two splits: a person, or a picture and its copies, stays together. Groups of
several pictures are placed one by one, the largest first, each where it brings the labels' shares closest to what is
due so far, as in scikit-learn's StratifiedGroupKFold; single pictures, nearly all there are, fill up the rest at once.
StratifiedGroupKFold takes 0.25 ms for each group: more than a minute for 300,000 pictures, where this takes 0.6 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

DRAWN = ("valid", "test")


def draw(
    splits: np.ndarray,
    drawable: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    order: np.ndarray,
    shares: Sequence[float],
) -> np.ndarray:
    """Return the split of every picture.

    A group is drawn as a whole, and only if every picture in it may be: one that holds a published valid or test
    picture, or a training picture of a data set from which that split is not drawn, stays where it is, and its
    pictures without a split are train.

    Args:
        splits: published split of each picture, [N]; "" where there is none.
        drawable: whether its data set draws valid, and test, bool [N, 2].
        strata: what to stratify by (data set and label), int [N].
        groups: number of the group of each picture, from 0, int [N].
        order: a random number for each picture, [N], from `random_order`.
        shares: of valid and of test in the pictures of each stratum that can be drawn, 0 to 1.

    Returns:
        `train`, `valid` or `test`, [N]. The order of the rows does not matter.
    """
    free = (splits == "") | (splits == "train")
    fixed = ~(drawable & free[:, None])
    movable = np.stack([np.bincount(groups, weights=column) == 0 for column in fixed.T], axis=1)[groups]
    several = np.bincount(groups)[groups] > 1
    quota = np.stack(
        [
            share * np.bincount(strata[rows], minlength=strata.max(initial=0) + 1)
            for share, rows in zip(shares, movable.T, strict=True)
        ]
    )
    drawn = np.where(splits == "", "train", splits).astype("<U5")
    placed = np.zeros_like(quota)
    due = np.zeros_like(quota)
    for rows in _largest_first(np.flatnonzero(several & movable.any(axis=1)), groups, order):
        here, counts = np.unique(strata[rows], return_counts=True)
        may = movable[rows[0]]
        due[:, here] += np.outer(np.where(may, shares, 0), counts)
        # The squared distance from what is due so far changes by this much if the group goes there.
        change = (counts * (2 * (placed - due)[:, here] + counts)).sum(axis=1)
        change[~may] = 0
        if change.min() < 0:
            chosen = int(change.argmin())
            placed[chosen, here] += counts
            drawn[rows] = DRAWN[chosen]
    singles = np.flatnonzero(~several & movable.any(axis=1))
    _fill(drawn, singles, movable, strata, order, quota - placed)
    return drawn


def random_order(ids: Sequence[str], seed: int) -> np.ndarray:
    """Return a random number for each id, uint64 [N], that depends on nothing but the id and the seed."""
    key = str(seed).encode()
    digests = [blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids]
    return np.frombuffer(b"".join(digests), "<u8")


def _largest_first(rows: np.ndarray, groups: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each group, large groups first, groups of one size in random order."""
    if not len(rows):
        return []
    rows = rows[np.lexsort((order[rows], groups[rows]))]
    parts = np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1)
    return sorted(parts, key=lambda part: (-len(part), order[part[0]]))


def _fill(
    drawn: np.ndarray,
    rows: np.ndarray,
    movable: np.ndarray,
    strata: np.ndarray,
    order: np.ndarray,
    missing: np.ndarray,
) -> None:
    """Draw single pictures: in each stratum the first ones in random order, as many as are missing."""
    need = np.floor(missing + 0.5).clip(0).astype(np.int64)
    for place, split in enumerate(DRAWN):
        rest = rows[(drawn[rows] == "train") & movable[rows, place]]
        rest = rest[np.lexsort((order[rest], strata[rest]))]
        first = np.searchsorted(strata[rest], strata[rest])
        drawn[rest[np.arange(len(rest)) - first < need[place, strata[rest]]]] = split
