"""Predictions of a run: confusion matrices and the most confident mistakes.

They are shown only if they give the scores of `metrics/evaluate.json`: figures of two runs must not be mixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.report.run import SCORES, FinishedRun
from pipeline.tables.paths import ALIGNED, PREDICTIONS
from pipeline.tables.store import Faces, read_parquet
from pipeline.tables.vocabulary import SCORED

# Mistakes shown: the most confident of all, and of each pair of a true and a predicted class.
OF_ALL, OF_PAIR = 48, 3


class SplitPredictions(NamedTuple):
    """Predictions of a split.

    Attributes:
        ids, datasets: of each face, [N].
        labels: true classes, int [N].
        probabilities: float32 [N, K].
    """

    ids: np.ndarray
    datasets: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Predicted classes, int [N]."""
        return self.probabilities.argmax(axis=1)

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
    """Return the predictions by split; empty if they have other classes."""
    table = read_parquet(path, ["id", "dataset", "split", "label", "predicted", "probabilities"])
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index.get(name, -1) for name in table["label"].to_pylist()], int)
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not len(table) or len(flat) != len(table) * len(classes) or (labels < 0).any():
        return {}
    probabilities = flat.reshape(len(table), len(classes))
    splits, ids, datasets = (table[name].to_numpy() for name in ("split", "id", "dataset"))
    return {
        split: SplitPredictions(ids[rows], datasets[rows], labels[rows], probabilities[rows])
        for split in SCORED
        if (rows := splits == split).any()
    }


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
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    pairs: dict[tuple[int, int], int] = {}
    chosen = []
    for rank, row in enumerate(wrong.tolist()):
        pair = (int(labels[row]), int(predicted[row]))
        pairs[pair] = pairs.get(pair, 0) + 1
        if rank < OF_ALL or pairs[pair] <= OF_PAIR:
            chosen.append(row)
    ids = [(str(predictions.datasets[row]), str(predictions.ids[row])) for row in chosen]
    return [
        Mistake(id_, classes[labels[row]], classes[predicted[row]], float(confidence[row]), face)
        for row, (_, id_), face in zip(chosen, ids, _faces(run, ids), strict=True)
    ]


def _faces(run: FinishedRun, wanted: list[tuple[str, str]]) -> list[np.ndarray | None]:
    """Return the faces with some data sets and ids; None for each face that is not available."""
    by_id: dict[str, np.ndarray] = {}
    for dataset in sorted({name for name, _ in wanted}):
        # The name becomes part of a path: only names of the run's data sets are accepted.
        path = run.files.find(ALIGNED / f"{dataset}.arrow") if dataset in run.datasets else None
        if path is not None:
            faces = Faces(path)
            ids = {id_ for name, id_ in wanted if name == dataset}
            by_id |= {id_: faces[row] for row, id_ in enumerate(faces.ids()) if id_ in ids}
    return [by_id.get(id_) for _, id_ in wanted]
