"""Pictures that occur more than once, and the leaks between splits and data sets that they make.

Two pictures are the same if their pixels are identical or their faces are one picture (`likeness`); whatever is
connected by such pairs is a cluster. Keys below are anything that equal things have in common: fingerprints of
pixels, numbers of clusters, groups. A row whose key is None is like no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations, permutations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.tables.vocabulary import SPLITS

Keys = Sequence[Hashable] | np.ndarray


def links(keys: Keys) -> np.ndarray:
    """Return pairs that connect every row with the first one of its key, int64 [M, 2]."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
    return np.array(pairs, np.int64).reshape(-1, 2)


def connected(count: int, pairs: Iterable[np.ndarray]) -> np.ndarray:
    """Return the number of the connected component of each of `count` rows, from 0, int64 [count]."""
    left, right = np.concatenate([np.zeros((0, 2), np.int64), *pairs]).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def between_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count leaks: `valid_in_train` is the number of valid pictures whose key also occurs in train.

    Returns:
        One count for each pair of splits that have pictures.
    """
    return {
        f"{later}_in_{earlier}": count
        for (earlier, later), count in _occurring(splits, keys, combinations(SPLITS, 2)).items()
    }


def between_datasets(datasets: Sequence[str], keys: Keys) -> dict[str, int]:
    """Count what data sets share: `a_in_b` is the number of pictures of a whose key also occurs in b."""
    names = sorted(set(datasets))
    return {
        f"{name}_in_{other}": count
        for (other, name), count in _occurring(datasets, keys, permutations(names, 2)).items()
    }


def within_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Return for each split that has pictures how many of them repeat another one of that split."""
    members = _members(splits, keys)
    return {split: len(members[split]) - len(set(members[split])) for split in SPLITS if split in members}


def _occurring(
    parts: Sequence[str] | np.ndarray, keys: Keys, pairs: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Return for each pair (known, asked) of parts that have rows how many of asked have a key of known."""
    members = _members(parts, keys)
    known = {part: set(of_part) for part, of_part in members.items()}
    return {
        pair: sum(key in known[pair[0]] for key in members[pair[1]])
        for pair in pairs
        if all(part in members for part in pair)
    }


def _members(parts: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, list[Hashable]]:
    members: dict[str, list[Hashable]] = defaultdict(list)
    for part, key in zip(parts, keys, strict=True):
        if key is not None:
            members[str(part)].append(key)
        else:
            members[str(part)]  # a part without keys has no leaks, which is a count of 0
    return members


def first_ids(ids: Sequence[str], splits: Sequence[str] | np.ndarray, keys: Keys) -> list[str | None]:
    """Return for each picture the id of the first one with its key, None if there is no other.

    First means first in train, then valid, then test, by id within a split.
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
        choice: `keep` drops none; `drop_from_train` the train pictures that occur in valid or test;
            `drop_from_eval` the valid pictures that occur in train, and the test pictures that occur in train
            or valid.
        splits: of each picture, [N].
        clusters: cluster of each picture, int [N].
    """
    within = {split: np.isin(clusters, clusters[splits == split]) for split in SPLITS}
    if choice == "drop_from_train":
        return (splits == "train") & (within["valid"] | within["test"])
    if choice == "drop_from_eval":
        return (splits != "train") & (within["train"] | ((splits == "test") & within["valid"]))
    return np.zeros(len(splits), bool)
