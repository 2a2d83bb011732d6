"""Divide the training faces into folds: people, and images and their copies, stay together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.core.errors import UserError
from pipeline.labels import duplicates
from pipeline.tables.columns import Texts, texts
from pipeline.tables.paths import INGESTED, LABELS
from pipeline.tables.store import read_parquet


def read_groups(ids: Texts, datasets: Sequence[str]) -> np.ndarray:
    """Return the number of the group of each face, int [N]: faces of a person, of an image and of its copies.

    Args:
        ids: N rows of `data/labels.parquet`.
        datasets: the data sets that hold them.

    Raises:
        UserError: a table is absent.
    """
    ingested = [INGESTED / f"{name}.parquet" for name in datasets]
    names, people = _column(ids, ingested, "dataset"), _column(ids, ingested, "group")
    together = _column(ids, [LABELS], "cluster"), pc.binary_join_element_wise(names, people, "\0")
    return duplicates.connected(len(ids), map(duplicates.links, together))


def draw(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the fold of each face, int [N] from 0 to `count` - 1. No group is in two folds.

    The shares of the labels in the folds are as equal as the groups allow.

    Args:
        labels: class indices, int [N].
        groups: numbers of the groups, int [N].
        count: of the folds.
        seed: of the draw.

    Raises:
        UserError: there are fewer groups than folds.
    """
    if (found := len(np.unique(groups))) < count:
        what = f"{count} folds for {found} people or images of split train"
        raise UserError.of("--folds", what, f"at most {found}")
    folds = np.empty(len(labels), np.int64)
    with warnings.catch_warnings(action="ignore"):  # a class may have fewer faces than there are folds
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    return folds


def judged(labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return which faces have another face of their class in another fold, bool [N].

    The classifier that scores one of the others has seen no face of its class, so it always doubts the label.

    Args:
        labels: class indices, int [N].
        folds: the fold of each face, int [N].
    """
    counts = np.zeros((labels.max() + 1, folds.max() + 1), np.int64)
    np.add.at(counts, (labels, folds), 1)
    return counts.sum(axis=1)[labels] > counts[labels, folds]


def _column(ids: Texts, files: Sequence[Path], name: str) -> pa.ChunkedArray:
    """Return the value of a column of some tables for each id, N; null where none has the id."""
    table = pa.concat_tables(read_parquet(file, ["id", name]) for file in files)
    return table[name].take(pc.index_in(texts(ids), value_set=texts(table["id"])))
