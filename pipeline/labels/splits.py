"""Draw the splits that a data set does not publish from its training images.

A share is drawn by hash, so a data set can grow and no image moves back to train. Each image has a key: its person,
or the hash of its pixels if it has none. A seeded hash maps the key to a number between 0 and 1. An image below the
share of test is test, one below the sum of both shares is valid, and the others are train. The images of a group (a
person, or an image and its copies) stay together: they follow the one that is nearest to test. So a group that gains
members moves towards test alone.

The size of a split is therefore binomial: its share is what it has on average. A group of k keys, such as near copies,
is test with 1 - (1 - share)^k. That is the price of stability: each of them may have been there before the others.

A number of samples of each class is drawn by `pipeline.labels.quota`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from pipeline.labels import folds, quota
from pipeline.tables.columns import Texts, texts
from pipeline.tables.vocabulary import DRAWN

ROWS = 4096  # keys hashed at a time
_LEVELS = ("train", *DRAWN)  # groups move upwards when a data set grows


@dataclass(frozen=True)
class Draw:
    """The splits of N images.

    Attributes:
        splits: `train`, `valid` or `test`, or another fixed split, [N].
        followed: whether an image is in a drawn split only because its group is, bool [N].
        filled: whether an image changed its split so that no split is empty, bool [N].
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
    fold: Sequence[int] | None = None,
) -> Draw:
    """Draw the split of every image.

    A group is drawn as a whole, and only if all its images can be drawn. A group stays where it is if it holds a
    published valid or test image, or a training image of a data set that does not draw the split. Its images
    without a split are then train.

    If a data set has no sample in train or in a split with a share, its groups are ordered by hash instead, and each
    split takes at least one. If there are too few groups, test stays empty first, then valid. These images may move
    back to train when the data set grows.

    Args:
        splits: published split of each image, [N]; "" for none.
        drawable: whether the data set of the image draws valid and test, bool [N, 2].
        datasets: number of the data set of each image, int [N].
        strata: number of the data set and label of each image, int [N].
        groups: number of the group of each image, from 0, int [N]. Images with equal keys are in one group.
        hashes: of the key of each image, [N], from `hashes_of`.
        samples: whether each image has a usable label and face, bool [N].
        sizes: of valid and of test. A float is a share, 0 to 1. An int is a number of samples of each stratum; images
            that are no samples then move with their group alone.
        fold: number of the part that is test, from 1, and number of parts, see `pipeline.labels.folds`. The share of
            test must be one over the number of parts. None: test is drawn like valid.

    Returns:
        The splits. They do not depend on the order of the rows.

    Raises:
        TooFewImages: a stratum has fewer samples than a number.
        TooManyParts: there are fewer groups than parts.
    """
    is_number = np.array([isinstance(size, int) for size in sizes])
    size = np.array(sizes, np.float64)
    free = drawable & ((splits == "") | (splits == "train"))[:, None]
    movable = np.stack([np.bincount(groups, weights=column) == 0 for column in ~free.T], axis=1)[groups]
    drawn = np.where(splits == "", "train", splits).astype("<U5")

    if fold:
        hashes = folds.positions(groups, datasets, hashes, movable[:, 1], fold)
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
        wanted = size[:, None] * (quota.by_stratum(free & samples[:, None], strata) > 0) * is_number[:, None]
        left = movable & is_number & (drawn == "train")[:, None]
        quota.draw_numbers(drawn, left, strata, groups, hashes, samples, wanted)
    return Draw(drawn, (level > own) & ~filled, filled)


def hashes_of(keys: Texts, seed: int) -> np.ndarray:
    """Return a number from 0 to 1 for each key, uniform, [N]. It depends only on the key and the seed."""
    seeded = str(seed).encode()
    column = texts(keys)
    digests = bytearray()
    for start in range(0, len(column), ROWS):  # as texts of Python, all of them would take much memory
        for key in column[start : start + ROWS].to_pylist():
            digests += blake2b(key.encode(), digest_size=8, key=seeded).digest()
    return np.frombuffer(digests, "<u8") / 2.0**64


def _levels(hashes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the number in `_LEVELS` of the split of each image by its own hash, int [N].

    Args:
        hashes: [N].
        shares: of valid and test, [N, 2]; 0 if the data set of the image does not draw the split.
    """
    return (hashes[:, None] < np.cumsum(shares[:, ::-1], axis=1)).sum(axis=1)


def _of_groups(function: np.ufunc, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each image the smallest or largest value of its group, [N]."""
    result = np.zeros(groups.max(initial=-1) + 1, values.dtype)
    result[groups] = values
    function.at(result, groups, values)
    return result[groups]


def _fill_empty(
    drawn: np.ndarray, into: np.ndarray, groups: np.ndarray, order: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    """Give each split of a data set a group, as far as there are enough, if one would be empty. Changes `drawn`.

    Args:
        drawn: the split of each image, [N].
        into: whether a share is drawn from the group of each image for valid and test, bool [N, 2].
        groups: number of the group of each image, int [N].
        order: the rows, those next to test first, int [N].
        samples: whether each image is a sample of the data set, bool [N].

    Returns:
        Whether each image changed its split, bool [N].
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
