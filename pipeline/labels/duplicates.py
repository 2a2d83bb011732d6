"""Pictures that occur more than once, and the leaks between splits and data sets that they cause.

Two pictures are the same if their pixels are identical or their faces show one picture (`likeness`). Pictures that are
connected by such pairs form a cluster. Equal rows have equal keys: hashes of pixels, numbers of clusters, groups. A row
with the key None equals no other row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations, permutations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.labels import likeness
from pipeline.tables.vocabulary import SPLITS

Keys = Sequence[Hashable] | np.ndarray


def links(keys: Keys) -> np.ndarray:
    """Return pairs that connect every row with the first row of its key, int64 [M, 2]."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
    return np.array(pairs, np.int64).reshape(-1, 2)


def connected(count: int, pairs: Iterable[np.ndarray]) -> np.ndarray:
    """Return the connected component of each of `count` rows, numbered from 0, int64 [count]."""
    left, right = np.concatenate([np.zeros((0, 2), np.int64), *pairs]).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def clusters(pixels: list[str], low: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the cluster of each picture, int [N].

    Args:
        pixels: hash of the pixels of each picture, N.
        low, signs: of the faces, from `likeness.descriptors`.
    """
    copies = links(pixels)
    # Compare one of each: thousands of copies of a placeholder would make millions of pairs. Faces cut out of one
    # picture in two ways are both compared, so that a picture more never takes another one out of a cluster.
    distinct = np.unique(links(list(zip(pixels, map(bytes, low), strict=True)))[:, 0])
    alike = distinct[likeness.pairs(low[distinct], signs[distinct])]
    return connected(len(pixels), [copies, alike])


def between_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count leaks: `valid_in_train` is the number of valid pictures whose key also occurs in train.

    Returns:
        One count for each pair of splits with pictures.
    """
    return {
        f"{later}_in_{earlier}": count
        for (earlier, later), count in _occurring(splits, keys, combinations(SPLITS, 2)).items()
    }


def between_datasets(datasets: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count shared pictures: `a_in_b` is the number of pictures of a whose key also occurs in b."""
    names = sorted(set(datasets))
    return {
        f"{name}_in_{other}": count
        for (other, name), count in _occurring(datasets, keys, permutations(names, 2)).items()
    }


def within_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count repeats: the number of pictures in each split less the number of their keys."""
    members = _members(splits, keys)
    return {split: len(members[split]) - len(set(members[split])) for split in SPLITS if split in members}


def _occurring(
    parts: Sequence[str] | np.ndarray, keys: Keys, pairs: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Count the rows of the second part with a key of the first, for each pair of parts that have rows."""
    members = _members(parts, keys)
    known = {part: set(of_part) for part, of_part in members.items()}
    return {
        (first, second): sum(key in known[first] for key in members[second])
        for first, second in pairs
        if first in members and second in members
    }


def _members(parts: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, list[Hashable]]:
    """Return the keys in each part with rows. Keys that are None are left out."""
    members: dict[str, list[Hashable]] = defaultdict(list)
    for part, key in zip(parts, keys, strict=True):
        members[str(part)] += [] if key is None else [key]
    return members


def first_ids(ids: Sequence[str], splits: Sequence[str] | np.ndarray, keys: Keys) -> list[str | None]:
    """Return for each picture the id of the first picture with its key, or None if no other picture has it.

    Pictures are ordered by split (train, valid, test), then by id.
    """
    order = sorted(range(len(ids)), key=lambda i: (SPLITS.index(splits[i]), ids[i]))
    first: dict[Hashable, str] = {}
    others: set[Hashable] = set()
    for i in order:
        if first.setdefault(keys[i], ids[i]) != ids[i]:
            others.add(keys[i])
    return [first[key] if key in others else None for key in keys]


def leaking(choice: str, splits: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return which pictures to drop so that none occurs in two splits, bool [N].

    Args:
        choice: `keep` drops none. `drop_from_train` drops train pictures that occur in valid or test.
            `drop_from_eval` drops valid pictures that occur in train, and test pictures that occur in train or valid.
        splits: the split of each picture, [N].
        clusters: the cluster of each picture, int [N].
    """
    within = {split: np.isin(clusters, clusters[splits == split]) for split in SPLITS}
    if choice == "drop_from_train":
        return (splits == "train") & (within["valid"] | within["test"])
    if choice == "drop_from_eval":
        return (splits != "train") & (within["train"] | ((splits == "test") & within["valid"]))
    return np.zeros(len(splits), bool)
