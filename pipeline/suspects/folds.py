"""Divide the training faces into folds: people, and pictures and their copies, stay together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.core.errors import UserError
from pipeline.labels import duplicates
from pipeline.tables.paths import INGESTED, LABELS
from pipeline.tables.store import read_parquet


def read_groups(ids: Sequence[str], datasets: Sequence[str]) -> np.ndarray:
    """Return the number of the group of each face, int [N]: faces of a person, of a picture and of its copies.

    Args:
        ids: N rows of `data/labels.parquet`.
        datasets: the data sets that hold them.

    Raises:
        UserError: a table is absent.
    """
    clusters = _column(read_parquet(LABELS, ["id", "cluster"]), "cluster")
    people: dict[str, str] = {}
    for name in datasets:
        table = read_parquet(INGESTED / f"{name}.parquet", ["id", "group"])
        people |= {id_: f"{name}\0{person}" for id_, person in _column(table, "group").items()}
    together = [duplicates.links([known.get(id_) for id_ in ids]) for known in (clusters, people)]
    return duplicates.connected(len(ids), together)


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
        what = f"{count} folds for {found} people or pictures of split train"
        raise UserError.of("--folds", what, f"at most {found}")
    folds = np.empty(len(labels), np.int64)
    with warnings.catch_warnings(action="ignore"):  # a class may have fewer faces than there are folds
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    return folds


def _column(table: pa.Table, name: str) -> dict[str, str]:
    """Return the values of a column by id, without those that are null."""
    rows = zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True)
    return {id_: value for id_, value in rows if value is not None}
