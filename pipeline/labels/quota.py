"""Draw splits of a number of samples of each class.

The number is never exceeded. It is met exactly if there are enough single images, and otherwise as far as whole
groups fit. Groups of several images are placed one by one, the largest first. Each goes to the split that brings the
classes closest to their numbers, as in scikit-learn's StratifiedGroupKFold. Single images then fill the splits at
once, in the order of their hashes. When the data set grows, any image may move to another split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.tables.vocabulary import DRAWN


class TooFewImages(Exception):
    """A stratum has too few samples for a split with a number of each class, or none would be left for train.

    Args:
        stratum: its number.
        found: samples that can be drawn.
        wanted: samples that valid and test take.
    """

    def __init__(self, stratum: int, found: int, wanted: int) -> None:
        super().__init__(stratum, found, wanted)
        self.stratum, self.found, self.wanted = stratum, found, wanted


@dataclass(frozen=True)
class _Group:
    """Images that stay together: their rows, their strata [S], and the samples of each, int [S]."""

    rows: np.ndarray
    strata: np.ndarray
    counts: np.ndarray


def _group(rows: np.ndarray, strata: np.ndarray, samples: np.ndarray) -> _Group:
    present, at = np.unique(strata[rows], return_inverse=True)
    return _Group(rows, present, np.bincount(at[samples[rows]], minlength=len(present)))


def draw_numbers(
    drawn: np.ndarray,
    movable: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    hashes: np.ndarray,
    samples: np.ndarray,
    quota: np.ndarray,
) -> None:
    """Draw a number of samples of each stratum. Changes `drawn`.

    Args:
        drawn: the split of each image, [N].
        movable: whether each image can be drawn for valid and test, bool [N, 2]; equal within a group.
        strata, groups, hashes, samples: as for `draw`.
        quota: samples of each stratum for valid and test, [2, S]; 0 for a split without a number.

    Raises:
        TooFewImages: a stratum has fewer samples than a number.
    """
    several = np.bincount(groups)[groups] > 1
    available = by_stratum(movable & samples[:, None], strata)
    _check(quota, available.max(axis=0))
    rates = quota / np.maximum(available, 1)
    placed = np.zeros_like(quota)

    def place(group: _Group, targets: np.ndarray, allowed: np.ndarray) -> None:
        """Move a group to the split that it brings closest to the targets, if there is one."""
        at, counts = group.strata, group.counts
        fits = (placed[:, at] + counts <= quota[:, at]).all(axis=1)
        # Change of the squared distance from the targets, if the group goes to valid or to test.
        change = (counts * (2 * (placed - targets)[:, at] + counts)).sum(axis=1)
        change[~(allowed & fits)] = 0
        if change.min() < 0:
            chosen = int(change.argmin())
            placed[chosen, at] += counts
            drawn[group.rows] = DRAWN[chosen]

    rows_of_groups = _largest_first(np.flatnonzero(several & movable.any(axis=1)), groups, hashes)
    in_groups = [_group(rows, strata, samples) for rows in rows_of_groups]
    due = np.zeros_like(quota)  # of the groups so far
    for group in in_groups:
        allowed = movable[group.rows[0]]
        due[:, group.strata] += np.where(allowed[:, None], rates[:, group.strata] * group.counts, 0)
        place(group, due, allowed)
    singles = np.flatnonzero(~several & movable.any(axis=1) & samples)
    spare = np.bincount(strata[singles], minlength=quota.shape[1])
    for group in in_groups:
        lacking = (quota - placed).sum(axis=0) > spare
        if drawn[group.rows[0]] == "train" and lacking[group.strata].any():
            place(group, quota, movable[group.rows[0]])
    _fill(drawn, singles, movable, strata, hashes, (quota - placed).astype(np.int64))


def by_stratum(chosen: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the number of chosen images, bool [N, 2], in each stratum, int [2, S]."""
    return np.stack([np.bincount(strata[rows], minlength=strata.max(initial=0) + 1) for rows in chosen.T])


def _check(quota: np.ndarray, found: np.ndarray) -> None:
    """Reject numbers of samples that leave none of a stratum for train.

    Args:
        quota: samples for valid and test, [2, S].
        found: samples that can be drawn, [S].
    """
    total = quota.sum(axis=0)  # a float, as a number in params.yaml may be too large for an int64
    for stratum in np.flatnonzero((total > 0) & (total >= found)):
        raise TooFewImages(int(stratum), int(found[stratum]), int(total[stratum]))


def _largest_first(rows: np.ndarray, groups: np.ndarray, hashes: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each group, large groups first, groups of equal size in the order of their hashes."""
    if not len(rows):
        return []
    rows = rows[np.lexsort((hashes[rows], groups[rows]))]
    parts = np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1)
    return sorted(parts, key=lambda part: (-len(part), hashes[part[0]]))


def _fill(
    drawn: np.ndarray,
    rows: np.ndarray,
    movable: np.ndarray,
    strata: np.ndarray,
    hashes: np.ndarray,
    need: np.ndarray,
) -> None:
    """Draw the needed number of single images of each stratum, the smallest hashes first. Changes `drawn`."""
    for column, split in enumerate(DRAWN):
        rest = rows[(drawn[rows] == "train") & movable[rows, column]]
        rest = rest[np.lexsort((hashes[rest], strata[rest]))]
        first = np.searchsorted(strata[rest], strata[rest])
        drawn[rest[np.arange(len(rest)) - first < need[column, strata[rest]]]] = split
