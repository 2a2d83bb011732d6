"""Images that occur more than once, and the leaks between splits and data sets that they cause.

Two images are the same if their pixels are identical or their faces show one image (`likeness`). Images that are
connected by such pairs form a cluster. Equal rows have equal keys: hashes of pixels, numbers of clusters, groups. A row
with the key None, or a negative number, equals no other row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.labels import likeness
from pipeline.tables.columns import Texts, numbers, texts
from pipeline.tables.vocabulary import SPLITS

Keys: TypeAlias = Texts | np.ndarray


def links(keys: Keys) -> np.ndarray:
    """Return pairs that connect every row with the first row of its key, int64 [M, 2]."""
    keys = numbers(keys)
    rows = np.flatnonzero(keys >= 0)
    _, first, own = np.unique(keys[rows], return_index=True, return_inverse=True)
    return np.stack([rows[first[own]], rows], axis=1)


def connected(count: int, pairs: Iterable[np.ndarray]) -> np.ndarray:
    """Return the connected component of each of `count` rows, numbered from 0, int64 [count]."""
    left, right = np.concatenate([np.zeros((0, 2), np.int64), *pairs]).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def clusters(pixels: Texts, low: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the cluster of each image, int [N].

    Args:
        pixels: hash of the pixels of each image, N.
        low, signs: of the faces, from `likeness.descriptors`.
    """
    shown = numbers(pixels)
    copies = links(shown)
    # Compare one of each: thousands of copies of a placeholder would make millions of pairs. Faces cut out of one
    # image in two ways are both compared, so that an image more never takes another one out of a cluster.
    repeated = np.flatnonzero(np.bincount(shown)[shown] > 1)
    cut = _equal_rows(low[repeated])
    first, own = links(shown[repeated] * len(shown) + cut).T
    distinct = np.delete(np.arange(len(shown)), repeated[own[first < own]])
    alike = distinct[likeness.pairs(low[distinct], signs[distinct])]
    return connected(len(shown), [copies, alike])


def _equal_rows(values: np.ndarray) -> np.ndarray:
    """Return a number for each row of values [N, D], int64 [N], that rows of equal bytes share; less than N."""
    width = values.shape[1] * values.itemsize
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return numbers(pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, buffer]))


def between_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count leaks: `valid_in_train` is the number of valid images whose key also occurs in train.

    Returns:
        One count for each pair of splits with images.
    """
    return {
        f"{later}_in_{earlier}": count
        for (earlier, later), count in _occurring(splits, keys, combinations(SPLITS, 2)).items()
    }


def between_datasets(datasets: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count shared images: `a_in_b` is the number of images of a whose key also occurs in b."""
    names = sorted(set(datasets.tolist() if isinstance(datasets, np.ndarray) else datasets))
    return {
        f"{name}_in_{other}": count
        for (other, name), count in _occurring(datasets, keys, permutations(names, 2)).items()
    }


def within_splits(splits: Sequence[str] | np.ndarray, keys: Keys) -> dict[str, int]:
    """Count repeats: the number of images in each split less the number of their keys."""
    members = _members(splits, keys, SPLITS)
    return {split: len(of_split) - len(np.unique(of_split)) for split, of_split in members.items()}


def _occurring(
    parts: Sequence[str] | np.ndarray, keys: Keys, pairs: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Count the rows of the second part with a key of the first, for each pair of parts that have rows."""
    pairs = list(pairs)
    members = _members(parts, keys, dict.fromkeys(part for pair in pairs for part in pair))
    return {
        (first, second): int(np.isin(members[second], members[first]).sum())
        for first, second in pairs
        if first in members and second in members
    }


def _members(parts: Sequence[str] | np.ndarray, keys: Keys, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the keys in each of the named parts that has rows, as numbers. Rows without a key are left out."""
    keys, parts = numbers(keys), np.asarray(parts)
    rows = {name: parts == name for name in names}
    return {name: keys[of_part & (keys >= 0)] for name, of_part in rows.items() if of_part.any()}


def first_ids(ids: Texts, splits: np.ndarray, keys: Keys) -> pa.Array:
    """Return for each image the id of the first image with its key, or null if no other image has it.

    Images are ordered by split (train, valid, test), then by row. Each has a key.
    """
    order = np.argsort(_places(splits), kind="stable")
    pairs = links(numbers(keys)[order])
    first = np.empty(len(order), np.int64)
    first[order[pairs[:, 1]]] = order[pairs[:, 0]]
    alone = np.bincount(first, minlength=len(first))[first] == 1
    return texts(ids).take(pa.array(first, mask=alone))


def _places(splits: np.ndarray) -> np.ndarray:
    """Return the place in `SPLITS` of each split, int [N]."""
    return np.select([splits == split for split in SPLITS], range(len(SPLITS)))


def leaking(choice: str, splits: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return which images to drop so that none occurs in two splits, bool [N].

    Args:
        choice: `keep` drops none. `drop_from_train` drops train images that occur in valid or test.
            `drop_from_eval` drops valid images that occur in train, and test images that occur in train or valid.
        splits: the split of each image, [N].
        clusters: the cluster of each image, int [N].
    """
    within = {split: np.isin(clusters, clusters[splits == split]) for split in SPLITS}
    if choice == "drop_from_train":
        return (splits == "train") & (within["valid"] | within["test"])
    if choice == "drop_from_eval":
        return (splits != "train") & (within["train"] | ((splits == "test") & within["valid"]))
    return np.zeros(len(splits), bool)
