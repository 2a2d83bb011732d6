"""Which generated faces are kept: those that nothing speaks against, in the order of their seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

# Seeds tried for each face that is wanted, before a class is left with fewer.
TRIES = 20
BLOCK = 256

# Maps faces uint8 [n, H, W, C] to which of them are good, bool [n].
Filter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kept:
    """Generated faces of a class.

    Attributes:
        faces: uint8 [n, H, W, C].
        seeds: of these.
        rejected: how many each filter turned down; a face counts for the first that did.
    """

    faces: np.ndarray
    seeds: list[int]
    rejected: Counter[str] = field(default_factory=Counter)


def keep(
    draw: Callable[[list[int]], np.ndarray], wanted: int, first: int, filters: Mapping[str, Filter]
) -> Kept:
    """Draw faces until as many as are wanted have passed all filters, or `TRIES` times as many have been drawn.

    Args:
        draw: returns one face per seed, uint8 [n, H, W, C].
        wanted: how many to keep.
        first: seed of the first face; the others follow.
        filters: by name, applied in their order.
    """
    rejected = Counter(dict.fromkeys(filters, 0))
    faces = [draw([])]
    seeds: list[int] = []
    end = first + wanted * (TRIES if filters else 1)
    for start in range(first, end, BLOCK):
        some = list(range(start, min(start + BLOCK, end)))
        drawn = draw(some)
        good = np.arange(len(drawn))
        for name, accepts in filters.items():
            passed = good[accepts(drawn[good])]
            rejected[name] += len(good) - len(passed)
            good = passed
        good = good[: wanted - len(seeds)]
        faces.append(drawn[good])
        seeds += [some[row] for row in good.tolist()]
        if len(seeds) == wanted:
            break
    return Kept(np.concatenate(faces), seeds, rejected)
