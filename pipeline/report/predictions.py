"""Predictions of a run: confusion matrices and the most confident mistakes.

They are shown only if they give the scores of `metrics/evaluate.json`: figures of two runs must not be mixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.report.run import SCORES, FinishedRun
from pipeline.tables.columns import places, shared, texts
from pipeline.tables.paths import ALIGNED, PREDICTIONS
from pipeline.tables.schema import classes_of
from pipeline.tables.store import Faces, read_parquet
from pipeline.tables.vocabulary import SCORED

# Mistakes shown: the most confident of all, and of each pair of a true and a predicted class.
OF_ALL, OF_PAIR = 48, 3


class SplitPredictions(NamedTuple):
    """Predictions of a split.

    Attributes:
        ids: N texts.
        datasets: of each face, object [N].
        labels: true classes, int [N].
        probabilities: float32 [N, K].
        places: on the map of the features, float32 [N, 2]; None in tables of earlier versions.
    """

    ids: pa.Array
    datasets: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    places: np.ndarray | None

    @property
    def predicted(self) -> np.ndarray:
        """Return the predicted classes, int [N]."""
        return self.probabilities.argmax(axis=1)

    @property
    def wrong(self) -> np.ndarray:
        """Return whether each prediction is wrong, bool [N]."""
        return self.predicted != self.labels

    @property
    def confidence(self) -> np.ndarray:
        """Return the probabilities of the predicted classes, float32 [N]."""
        return self.probabilities.max(axis=1)

    def most_confident(self, rows: np.ndarray) -> np.ndarray:
        """Return rows, the most confident first."""
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    def confusion(self) -> np.ndarray:
        """Return the number of faces of each true class (row) and predicted class (column), [K, K]."""
        count = self.probabilities.shape[1]
        return np.bincount(self.labels * count + self.predicted, minlength=count**2).reshape(count, count)


class Mistake(NamedTuple):
    """A face with a wrong prediction; `face` is uint8 [H, W, C], or None if it is not available."""

    id: str
    label: str
    predicted: str
    probability: float
    face: np.ndarray | None


def predictions(run: FinishedRun) -> tuple[dict[str, SplitPredictions], str]:
    """Return the predictions of each split, and why there are none if there are none."""
    path = run.files.find(PREDICTIONS)
    if path is None:
        return {}, f"{PREDICTIONS} is missing. Try `dvc checkout` or `dvc pull`."
    by_split = _read(path, run.classes(run.splits[-1]) if run.splits else [])
    if not by_split or any(not _agree(run, split, by_split.get(split)) for split in run.splits):
        return {}, f"{PREDICTIONS} does not match {SCORES}. Run `dvc repro`."
    return by_split, ""


def _read(path: Path, classes: list[str]) -> dict[str, SplitPredictions]:
    """Return the predictions by split; empty if they have other classes. Earlier versions' tables name none."""
    table = read_parquet(path, ["id", "dataset", "split", "label", "predicted", "probabilities"])
    if classes_of(table.schema) not in ([], classes):
        return {}
    labels = places(table["label"], classes)
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not len(table) or len(flat) != len(table) * len(classes) or (labels < 0).any():
        return {}
    probabilities = flat.reshape(len(table), len(classes))
    ids, splits, datasets = texts(table["id"]), shared(table["split"]), shared(table["dataset"])
    on_map = _places(path)
    return {
        split: SplitPredictions(
            ids.take(rows),
            datasets[rows],
            labels[rows],
            probabilities[rows],
            None if on_map is None else on_map[rows],
        )
        for split in SCORED
        if len(rows := np.flatnonzero(splits == split))
    }


def _places(path: Path) -> np.ndarray | None:
    """Return where faces lie on the map of the features, [N, 2]; None if the table has no map."""
    axes = ["x", "y"]
    if not set(axes) <= set(pq.read_schema(path).names):
        return None
    table = read_parquet(path, axes)
    return np.stack([table[axis].to_numpy() for axis in axes], axis=1)


def _agree(run: FinishedRun, split: str, predictions: SplitPredictions | None) -> bool:
    """Return whether predictions give the support and the recall of every class in the metrics."""
    if predictions is None:
        return False
    confusion = predictions.confusion()
    computed: list[tuple[Any, Any]] = [
        (faces, correct / faces if faces else None)  # a class without faces has no recall
        for faces, correct in zip(confusion.sum(axis=1).tolist(), confusion.diagonal().tolist(), strict=True)
    ]
    per_class = (run.block(SCORES, split, "per_class", name) for name in run.classes(split))
    return computed == [(scores.get("support"), scores.get("recall")) for scores in per_class]


def mistakes(run: FinishedRun, predictions: SplitPredictions, classes: list[str]) -> list[Mistake]:
    """Return the most confident mistakes of a split, and of each pair of classes, most confident first."""
    labels, predicted = predictions.labels, predictions.predicted
    wrong = predictions.most_confident(np.flatnonzero(predictions.wrong))
    pairs = labels[wrong] * len(classes) + predicted[wrong]
    firsts = [np.flatnonzero(pairs == pair)[:OF_PAIR] for pair in np.unique(pairs)]
    chosen = wrong[np.unique(np.concatenate([np.arange(len(wrong))[:OF_ALL], *firsts]))]
    return as_mistakes(run, predictions, chosen, classes)


def as_mistakes(
    run: FinishedRun, predictions: SplitPredictions, rows: np.ndarray, classes: list[str]
) -> list[Mistake]:
    """Return the mistakes in some rows of predictions, with the faces of a run."""
    labels, predicted, confidence = predictions.labels, predictions.predicted, predictions.confidence
    ids = predictions.ids.take(rows)
    faces = faces_of(run, predictions.datasets[rows], ids)
    return [
        Mistake(id_, classes[labels[row]], classes[predicted[row]], float(confidence[row]), face)
        for row, id_, face in zip(rows.tolist(), ids.to_pylist(), faces, strict=True)
    ]


def faces_of(run: FinishedRun, datasets: np.ndarray, ids: pa.Array) -> list[np.ndarray | None]:
    """Return the faces with some data sets and ids; None for each face that is not available."""
    found: list[np.ndarray | None] = [None] * len(ids)
    for dataset in set(datasets.tolist()).intersection(run.datasets):  # only these may become part of a path
        path = run.files.find(ALIGNED / f"{dataset}.arrow")
        if path is not None:
            faces = Faces(path)
            rows = np.where(datasets == dataset, places(ids, faces.table["id"]), -1)
            for i in np.flatnonzero(rows >= 0):
                found[i] = faces[rows[i]]
    return found
