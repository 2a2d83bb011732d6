"""Stage `evaluate`: score the trained classifier on the real faces of every split."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import typer

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.evaluation.intervals import intervals
from pipeline.evaluation.metrics import confident_mistakes, headline, scores
from pipeline.figures import scores as plots
from pipeline.inference import device
from pipeline.inference.crops import VIEWS
from pipeline.inference.model_file import TrainedModel, load
from pipeline.inference.probabilities import probabilities
from pipeline.inference.samples import LabelledFaces, Samples
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, METRICS, PLOTS, PREDICTIONS
from pipeline.tables.schema import PREDICTIONS as PREDICTION_COLUMNS
from pipeline.tables.store import read_parquet, write_rows
from pipeline.tables.vocabulary import SCORED

FIGURES = PLOTS / "evaluate"


def run(p: Params) -> None:
    """Write scores, predictions and plots, and print a line for each split and each data set in it."""
    where = device.pick(p.train.device)
    model = load(CLASSIFIER, where)
    rows_by_id = _labelled_rows(p.datasets)
    faces = LabelledFaces(p.classes, p.datasets, p.align).everything()
    _check(p, model, faces.shape)
    splits = np.array([_scored_split(model, rows_by_id[id_]) for id_ in faces.ids])

    report: dict[str, Any] = {
        "rule": p.labels.rule,
        "ten_crop": p.evaluate.ten_crop,
        "mirror": p.evaluate.mirror,
    }
    predictions: list[dict[str, Any]] = []
    summary = ["evaluate:              images  accuracy     95 % interval  macro recall  macro F1"]
    earlier: set[str | None] = set()
    for split in [name for name in SCORED if name in splits]:
        samples = faces.at(np.flatnonzero(splits == split)).to(where)
        labels = samples.labels.numpy()
        chances = _probabilities(p, model, samples, split)
        predicted = chances.argmax(axis=1)
        rows = [rows_by_id[id_] | {"split": split} for id_ in samples.ids]
        report[split] = {
            **scores(labels, chances, p.classes),
            **_intervals(p, labels, predicted),
            **_parts(p, rows, labels, predicted, earlier),
        }
        for row, label, shares in zip(rows, predicted, chances, strict=True):
            predictions.append(row | {"predicted": p.classes[label], "probabilities": shares.tolist()})
        summary.append(_line(split, report[split]))
        for name, part in report[split].get("datasets", {}).items():
            summary.append(_line(name, part))
        if "deduplicated" in report[split]:
            summary.append(_line("without repeats", report[split]["deduplicated"]))
        if split in ("train", "valid"):
            earlier |= {row["cluster"] for row in rows}

    write_json(METRICS / "evaluate.json", report)
    write_rows(PREDICTIONS, PREDICTION_COLUMNS, sorted(predictions, key=lambda row: row["id"]))
    # The plots show the last split, which training knew least: test, or else unlearned or valid.
    _draw(p, split, samples, chances)
    typer.echo("\n".join(summary))


def _labelled_rows(datasets: list[str]) -> dict[str, dict[str, Any]]:
    """Return id, dataset, split, label and cluster of every labelled sample of data sets by its id."""
    table = read_parquet(LABELS, ["id", "dataset", "split", "label", "cluster"])
    rows = {row["id"]: row for row in table.to_pylist() if row["dataset"] in datasets}
    if not rows:
        raise UserError.of(LABELS, "no samples", "at least one; metrics/label.json counts the dropped")
    return rows


def _scored_split(model: TrainedModel, row: dict[str, Any]) -> str:
    """Return the split of `SCORED` to which a labelled sample belongs."""
    if row["split"] == "test" or row["dataset"] in model.datasets:
        return row["split"]
    return "gan_train" if row["split"] == "train" and row["dataset"] in model.gan_datasets else "unlearned"


def _intervals(p: Params, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return `interval.<score>.low|high`, or nothing if `evaluate.bootstrap` is 0."""
    if not p.evaluate.bootstrap:
        return {}
    return {"interval": intervals(labels, predicted, len(p.classes), p.evaluate.bootstrap, p.seed)}


def _parts(
    p: Params,
    rows: list[dict[str, Any]],
    labels: np.ndarray,
    predicted: np.ndarray,
    earlier: set[str | None],
) -> dict[str, Any]:
    """Return the scores of parts of a split.

    `deduplicated` covers the pictures that train and valid above it do not hold, exactly or nearly; `earlier` has their
    clusters. The first split has no `deduplicated`. If there are several data sets, `datasets.<name>` has the
    scores of each, with its own `deduplicated`.
    """
    fresh = np.array([not row["cluster"] or row["cluster"] not in earlier for row in rows])

    def without_repeats(chosen: np.ndarray) -> dict[str, Any]:
        chosen = chosen & fresh
        return {"deduplicated": headline(labels[chosen], predicted[chosen], p.classes)} if earlier else {}

    parts = without_repeats(np.ones(len(rows), bool))
    if len(p.datasets) > 1:
        sources = np.array([row["dataset"] for row in rows])
        chosen = {name: sources == name for name in p.datasets if name in sources}
        parts["datasets"] = {
            name: headline(labels[of], predicted[of], p.classes) | without_repeats(of)
            for name, of in chosen.items()
        }
    return parts


def _check(p: Params, model: TrainedModel, shape: tuple[int, int, int]) -> None:
    """Reject a model that was trained for other classes or faces of another shape."""
    if model.classes != p.classes:
        found, allowed = ", ".join(model.classes), ", ".join(p.classes)
        raise UserError.of(CLASSIFIER, f"classes {found}", f"{allowed} (params.yaml); run `dvc repro`")
    expected = (model.size, model.size, model.channels)
    if shape != expected:
        found, allowed = "x".join(map(str, shape)), "x".join(map(str, expected))
        raise UserError.of(ALIGNED, f"faces of {found}", f"{allowed} ({CLASSIFIER}); run `dvc repro`")


def _probabilities(p: Params, model: TrainedModel, samples: Samples, split: str) -> np.ndarray:
    """Return the class probabilities of a split, float32 [N, K]."""
    # The precision of training: the accuracy on valid is the one that chose the best epoch.
    precision = device.pick_precision(p.train.precision, samples.targets.device)
    crops, size = VIEWS["ten" if p.evaluate.ten_crop else "mirror" if p.evaluate.mirror else "centre"]
    batches = samples.batches(size, f"evaluate {split}")
    chances = probabilities(model.network, batches, model.crop, crops, precision)
    if not np.isfinite(chances).all():
        raise UserError(
            f"{CLASSIFIER}: found probabilities that are not numbers: training diverged; "
            f"a lower optimizers.{p.optimizer}.learning_rate may prevent it"
        )
    return chances


def _draw(p: Params, split: str, samples: Samples, chances: np.ndarray) -> None:
    labels, predicted = samples.labels.numpy(), chances.argmax(axis=1)
    plots.confusion_table(FIGURES / "confusion.csv", split, labels, predicted, p.classes)
    plots.confusion_matrix(FIGURES / "confusion.png", split, labels, predicted, p.classes)
    plots.reliability(FIGURES / "reliability.png", split, labels, chances)
    worst = confident_mistakes(labels, chances, p.evaluate.mistakes)
    captions = [f"{p.classes[labels[i]]}\n→ {p.classes[predicted[i]]} {chances[i].max():.2f}" for i in worst]
    faces = samples.take(torch.from_numpy(worst)).cpu().numpy()
    plots.mistakes_sheet(FIGURES / "mistakes.png", split, faces, captions)


def _line(name: str, figures: dict[str, Any]) -> str:
    values = [figures[key] for key in ("accuracy", "macro_recall", "macro_f1")]
    accuracy, recall, f1 = ("-" if value is None else f"{value:.4f}" for value in values)
    bounds = figures["interval"]["accuracy"] if "interval" in figures else None
    interval = f"{bounds['low']:.4f} - {bounds['high']:.4f}" if bounds else "-"
    return f"{name:>20} {figures['images']:8,}  {accuracy:>8}  {interval:>16}  {recall:>12}  {f1:>8}"
