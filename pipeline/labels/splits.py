"""Draw the splits that a data set does not publish from its training pictures.

A share is drawn by hash, so a data set can grow and no picture moves back to train. Each picture has a key: its person,
or the hash of its pixels if it has none. A seeded hash maps the key to a number between 0 and 1. A picture below the
share of test is test, one below the sum of both shares is valid, and the others are train. The pictures of a group (a
person, or a picture and its copies) stay together: they follow the one that is nearest to test. So a group that gains
members moves towards test alone.

The size of a split is therefore binomial: its share is what it has on average. A group of k keys, such as near copies,
is test with 1 - (1 - share)^k. That is the price of stability: each of them may have been there before the others.

A number of samples of each class is drawn by quota, and a picture may move when the data set grows. The number is never
exceeded. It is met exactly if there are enough single pictures, and otherwise as far as whole groups fit. Groups of
several pictures are placed one by one, the largest first. Each goes to the split that brings the classes closest to
their numbers, as in scikit-learn's StratifiedGroupKFold. Single pictures then fill the splits at once, in the order of
their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

DRAWN = ("valid", "test")
_LEVELS = ("train", *DRAWN)  # groups move upwards when a data set grows


class TooFewPictures(Exception):
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
class Draw:
    """The splits of N pictures.

    Attributes:
        splits: `train`, `valid` or `test`, or another fixed split, [N].
        followed: whether a picture is in a drawn split only because its group is, bool [N].
        filled: whether a picture changed its split so that no split is empty, bool [N].
    """

    splits: np.ndarray
    followed: np.ndarray
    filled: np.ndarray


def draw(
    splits: np.ndarray,
    drawable: np.ndarray,
    datasets: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    hashes: np.ndarray,
    samples: np.ndarray,
    sizes: Sequence[int | float],
) -> Draw:
    """Draw the split of every picture.

    A group is drawn as a whole, and only if all its pictures can be drawn. A group stays where it is if it holds a
    published valid or test picture, or a training picture of a data set that does not draw the split. Its pictures
    without a split are then train.

    If a data set has no sample in train or in a split with a share, its groups are ordered by hash instead, and each
    split takes at least one. If there are too few groups, test stays empty first, then valid. These pictures may move
    back to train when the data set grows.

    Args:
        splits: published split of each picture, [N]; "" for none.
        drawable: whether the data set of the picture draws valid and test, bool [N, 2].
        datasets: number of the data set of each picture, int [N].
        strata: number of the data set and label of each picture, int [N].
        groups: number of the group of each picture, from 0, int [N]. Pictures with equal keys are in one group.
        hashes: of the key of each picture, [N], from `hashes_of`.
        samples: whether each picture has a usable label and face, bool [N].
        sizes: of valid and of test. A float is a share, 0 to 1. An int is a number of samples of each stratum; pictures
            that are no samples then move with their group alone.

    Returns:
        The splits. They do not depend on the order of the rows.

    Raises:
        TooFewPictures: a stratum has fewer samples than a number.
    """
    is_number = np.array([isinstance(size, int) for size in sizes])
    size = np.array(sizes, np.float64)
    free = drawable & ((splits == "") | (splits == "train"))[:, None]
    movable = np.stack([np.bincount(groups, weights=column) == 0 for column in ~free.T], axis=1)[groups]
    drawn = np.where(splits == "", "train", splits).astype("<U5")

    shares = np.where(is_number, 0, size)
    into = movable & (shares > 0)
    own = _levels(hashes, free * shares)
    levels = _of_groups(np.maximum, own, groups)
    ways = [(levels == 2) & into[:, 1], (levels > 0) & into[:, 0], (levels > 0) & into[:, 1]]
    level = np.select(ways, [2, 1, 2], 0)
    drawn[level > 0] = np.array(_LEVELS)[level[level > 0]]
    filled = np.zeros(len(drawn), bool)
    order = np.lexsort((_of_groups(np.minimum, hashes, groups), -levels))
    for dataset in np.unique(datasets[into.any(axis=1)]):
        filled |= _fill_empty(drawn, into, groups, order, samples & (datasets == dataset))

    if is_number.any():
        quota = size[:, None] * (_by_stratum(free & samples[:, None], strata) > 0) * is_number[:, None]
        left = movable & is_number & (drawn == "train")[:, None]
        _draw_numbers(drawn, left, strata, groups, hashes, samples, quota)
    return Draw(drawn, (level > own) & ~filled, filled)


def hashes_of(keys: Sequence[str], seed: int) -> np.ndarray:
    """Return a number from 0 to 1 for each key, uniform, [N]. It depends only on the key and the seed."""
    seeded = str(seed).encode()
    digests = [blake2b(key.encode(), digest_size=8, key=seeded).digest() for key in keys]
    return np.frombuffer(b"".join(digests), "<u8") / 2.0**64


def _levels(hashes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the number in `_LEVELS` of the split of each picture by its own hash, int [N].

    Args:
        hashes: [N].
        shares: of valid and test, [N, 2]; 0 if the data set of the picture does not draw the split.
    """
    return (hashes[:, None] < np.cumsum(shares[:, ::-1], axis=1)).sum(axis=1)


def _of_groups(function: np.ufunc, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each picture the smallest or largest value of its group, [N]."""
    result = np.zeros(groups.max(initial=-1) + 1, values.dtype)
    result[groups] = values
    function.at(result, groups, values)
    return result[groups]


def _fill_empty(
    drawn: np.ndarray, into: np.ndarray, groups: np.ndarray, order: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    """Give each split of a data set a group, as far as there are enough, if one would be empty. Changes `drawn`.

    Args:
        drawn: the split of each picture, [N].
        into: whether a share is drawn from the group of each picture for valid and test, bool [N, 2].
        groups: number of the group of each picture, int [N].
        order: the rows, those next to test first, int [N].
        samples: whether each picture is a sample of the data set, bool [N].

    Returns:
        Whether each picture changed its split, bool [N].
    """
    columns = np.flatnonzero(into[samples].any(axis=0))
    wanted = [_LEVELS[0], *(DRAWN[column] for column in columns)]
    if not len(columns) or all((samples & (drawn == split)).any() for split in wanted):
        return np.zeros(len(drawn), bool)
    candidates = order[(samples & into[:, columns].all(axis=1))[order]]
    _, first = np.unique(groups[candidates], return_index=True)
    candidates = candidates[np.sort(first)]
    held = samples & ~np.isin(groups, groups[candidates])
    need: list[int] = []
    for split in wanted:
        need.append(min(int(not (held & (drawn == split)).any()), len(candidates) - sum(need)))
    before = drawn.copy()
    start = by_hash = 0
    for place in range(len(wanted) - 1, 0, -1):
        by_hash += int((before[candidates] == wanted[place]).sum())
        end = min(max(by_hash, start + need[place]), len(candidates) - sum(need[:place]))
        drawn[np.isin(groups, groups[candidates[start:end]])] = wanted[place]
        start = end
    drawn[np.isin(groups, groups[candidates[start:]])] = wanted[0]
    return drawn != before


@dataclass(frozen=True)
class _Group:
    """Pictures that stay together: their rows, their strata [S], and the samples of each, int [S]."""

    rows: np.ndarray
    strata: np.ndarray
    counts: np.ndarray


def _group(rows: np.ndarray, strata: np.ndarray, samples: np.ndarray) -> _Group:
    present, at = np.unique(strata[rows], return_inverse=True)
    return _Group(rows, present, np.bincount(at[samples[rows]], minlength=len(present)))


def _draw_numbers(
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
        drawn: the split of each picture, [N].
        movable: whether each picture can be drawn for valid and test, bool [N, 2]; equal within a group.
        strata, groups, hashes, samples: as for `draw`.
        quota: samples of each stratum for valid and test, [2, S]; 0 for a split without a number.

    Raises:
        TooFewPictures: a stratum has fewer samples than a number.
    """
    several = np.bincount(groups)[groups] > 1
    available = _by_stratum(movable & samples[:, None], strata)
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


def _by_stratum(chosen: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the number of chosen pictures, bool [N, 2], in each stratum, int [2, S]."""
    return np.stack([np.bincount(strata[rows], minlength=strata.max(initial=0) + 1) for rows in chosen.T])


def _check(quota: np.ndarray, found: np.ndarray) -> None:
    """Reject numbers of samples that leave none of a stratum for train.

    Args:
        quota: samples for valid and test, [2, S].
        found: samples that can be drawn, [S].
    """
    total = quota.sum(axis=0)  # a float, as a number in params.yaml may be too large for an int64
    for stratum in np.flatnonzero((total > 0) & (total >= found)):
        raise TooFewPictures(int(stratum), int(found[stratum]), int(total[stratum]))


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
    """Draw the needed number of single pictures of each stratum, the smallest hashes first. Changes `drawn`."""
    for column, split in enumerate(DRAWN):
        rest = rows[(drawn[rows] == "train") & movable[rows, column]]
        rest = rest[np.lexsort((hashes[rest], strata[rest]))]
        first = np.searchsorted(strata[rest], strata[rest])
        drawn[rest[np.arange(len(rest)) - first < need[column, strata[rest]]]] = split
