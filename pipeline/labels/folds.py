"""Divide images into parts for cross-validation: each part is test once.

The groups of each data set (a person, or an image and its copies) are dealt out in the order of their hashes, so the
parts differ by at most one group of each data set. When a data set grows, any group may change its part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SEED = 0  # of the hashes; the parts are the same for every `seed` of a run


class TooManyParts(Exception):
    """There are fewer groups than parts.

    Args:
        groups: number of groups from which test can be drawn.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self.groups = groups


def positions(
    groups: np.ndarray, datasets: np.ndarray, hashes: np.ndarray, movable: np.ndarray, fold: Sequence[int]
) -> np.ndarray:
    """Return a number from 0 to 1 for each image. Below one over the number of parts, the image is in the part.

    The numbers of the other images are spread over the rest of the range, so a share of them can be valid. Images that
    cannot be in test keep their hashes, so the same share of them is valid in every fold.

    Args:
        groups: number of the group of each image, int [N].
        datasets: number of the data set of each image, int [N].
        hashes: of the key of each image, [N], at least 0 and below 1. The smallest of a group counts.
        movable: whether the group of each image can be in test, bool [N].
        fold: number of the part, from 1, and number of parts.

    Raises:
        TooManyParts: fewer groups than parts can be in test.
    """
    part, parts = fold
    order = np.lexsort((hashes, groups))
    _, first = np.unique(groups[order], return_index=True)
    smallest = order[first]  # the row of each group with the smallest hash
    free = smallest[movable[smallest]]
    if len(free) < parts:
        raise TooManyParts(len(free))
    dealt = np.zeros(groups.max(initial=-1) + 1, np.int64)
    dealt[groups[free[np.lexsort((hashes[free], datasets[free]))]]] = np.arange(len(free)) % parts
    own = np.zeros(len(dealt))
    own[groups[smallest]] = hashes[smallest]
    return np.where(movable, ((dealt - (part - 1)) % parts + own)[groups] / parts, hashes)
