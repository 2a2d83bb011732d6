"""Keep the generated faces that pass all filters, in the order of their seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

# Most seeds tried per wanted face. A class that needs more gets fewer faces.
TRIES = 20
BLOCK = 256

# Maps faces, uint8 [n, H, W, C], to whether each one passes, bool [n].
Filter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kept:
    """Generated faces of a class that passed all filters.

    Attributes:
        faces: uint8 [n, H, W, C].
        seeds: seed of each face.
        rejected: number of faces that each filter rejected; a face counts for the first filter that rejects it.
    """

    faces: np.ndarray
    seeds: list[int]
    rejected: Counter[str]


def keep(
    generate: Callable[[list[int]], np.ndarray], wanted: int, first: int, filters: Mapping[str, Filter]
) -> Kept:
    """Generate faces until `wanted` of them have passed all filters, or `TRIES` times as many have been generated.

    Args:
        generate: returns one face per seed, uint8 [n, H, W, C].
        wanted: number of faces to keep.
        first: seed of the first face; later faces have the following seeds.
        filters: filters by name, in the order in which they are applied.
    """
    rejected = Counter(dict.fromkeys(filters, 0))
    faces = [generate([])]
    seeds: list[int] = []
    end = first + wanted * (TRIES if filters else 1)
    for start in range(first, end, BLOCK):
        generated = generate(list(range(start, min(start + BLOCK, end))))
        good = np.arange(len(generated))
        for name, accepts in filters.items():
            passed = good[accepts(generated[good])]
            rejected[name] += len(good) - len(passed)
            good = passed
        good = good[: wanted - len(seeds)]
        faces.append(generated[good])
        seeds += (start + good).tolist()
        if len(seeds) == wanted:
            break
    return Kept(np.concatenate(faces), seeds, rejected)
