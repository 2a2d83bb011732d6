"""Stage `evaluate`: score the trained classifier on every split that exists, real faces only."""

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
from pipeline.inference import samples as data
from pipeline.inference.classifier import Classifier, load
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import probabilities
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, METRICS, PLOTS, PREDICTIONS
from pipeline.tables.schema import PREDICTIONS as PREDICTION_COLUMNS
from pipeline.tables.schema import SPLITS
from pipeline.tables.store import read_parquet, write_rows

FIGURES = PLOTS / "evaluate"


def run(p: Params) -> None:
    """Write scores, predictions and plots; print a line for each split."""
    where = device.pick(p.train.device)
    classifier = load(CLASSIFIER, where)
    truth = _truth()

    report: dict[str, Any] = {
        "rule": p.labels.rule,
        "ten_crop": p.evaluate.ten_crop,
        "mirror": p.evaluate.mirror,
    }
    predictions: list[dict[str, Any]] = []
    summary = ["evaluate:              images  accuracy     95 % interval  macro recall  macro F1"]
    existing = {row["split"] for row in truth.values()}
    earlier: set[str | None] = set()
    for split in [name for name in SPLITS if name in existing]:
        samples = data.real(split, p).to(where)
        _check(p, classifier, samples.tables[0].shape)
        labels = samples.labels.numpy()
        probability = _predict(p, classifier, samples, split)
        rows = [truth[id_] for id_ in samples.ids]
        report[split] = {
            **scores(labels, probability, p.classes),
            **_intervals(p, labels, probability),
            **_parts(p, rows, labels, probability, earlier),
        }
        for row, shares in zip(rows, probability, strict=True):
            predicted = p.classes[shares.argmax()]
            predictions.append({**row, "predicted": predicted, "probabilities": shares.tolist()})
        summary.append(_line(split, report[split]))
        if "deduplicated" in report[split]:
            summary.append(_line("without repeats", report[split]["deduplicated"]))
        earlier |= {row["cluster"] for row in rows}

    write_json(METRICS / "evaluate.json", report)
    write_rows(PREDICTIONS, PREDICTION_COLUMNS, sorted(predictions, key=lambda row: row["id"]))
    # The last split there is, of which training knew least: test, else valid.
    _draw(p, split, samples, labels, probability)
    typer.echo("\n".join(summary))


def _truth() -> dict[str, dict[str, Any]]:
    """Return id, dataset, split, label and cluster of every labelled sample by its id."""
    rows = read_parquet(LABELS, ["id", "dataset", "split", "label", "cluster"]).to_pylist()
    if not rows:
        raise UserError.of(LABELS, "no samples", "at least one; metrics/label.json counts the dropped")
    return {row["id"]: row for row in rows}


def _intervals(p: Params, labels: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Return `interval.<score>.low|high`, or nothing where no resamples are wanted."""
    if not p.evaluate.bootstrap:
        return {}
    predicted = probability.argmax(axis=1)
    return {"interval": intervals(labels, predicted, len(p.classes), p.evaluate.bootstrap, p.seed)}


def _parts(
    p: Params,
    rows: list[dict[str, Any]],
    labels: np.ndarray,
    probability: np.ndarray,
    earlier: set[str | None],
) -> dict[str, Any]:
    """Return the scores of parts of a split.

    `deduplicated`: over the pictures that no earlier split holds, pixel by pixel or nearly (clusters `earlier`);
    left out for the first split. `datasets.<name>`: of each data set, where there are several, with a
    `deduplicated` of its own.
    """
    predicted = probability.argmax(axis=1)
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


def _check(p: Params, classifier: Classifier, shape: tuple[int, int, int]) -> None:
    """Refuse a model that was trained for other classes or other faces than there are now."""
    if classifier.classes != p.classes:
        found, allowed = ", ".join(classifier.classes), ", ".join(p.classes)
        raise UserError.of(CLASSIFIER, f"classes {found}", f"{allowed} (params.yaml); run `dvc repro`")
    wanted = (classifier.size, classifier.size, classifier.channels)
    if shape != wanted:
        found, allowed = "x".join(map(str, shape)), "x".join(map(str, wanted))
        raise UserError.of(ALIGNED, f"faces of {found}", f"{allowed} ({CLASSIFIER}); run `dvc repro`")


def _predict(p: Params, classifier: Classifier, samples: data.Samples, split: str) -> np.ndarray:
    """Return the class probabilities of a split, float32 [N, K]."""
    # The precision of training, in which the best epoch was chosen: valid scores the same here and there.
    precision = device.pick_precision(p.train.precision, samples.targets.device)
    crops, batch_size = VIEWS["ten" if p.evaluate.ten_crop else "mirror" if p.evaluate.mirror else "centre"]
    probability = probabilities(
        classifier.network, samples, classifier.crop, crops, precision, batch_size, f"evaluate {split}"
    )
    if not np.isfinite(probability).all():
        raise UserError(
            f"{CLASSIFIER}: found probabilities that are not numbers: training diverged; "
            f"a lower optimizers.{p.optimizer}.learning_rate may prevent it"
        )
    return probability


def _draw(p: Params, split: str, samples: data.Samples, labels: np.ndarray, probability: np.ndarray) -> None:
    predicted = probability.argmax(axis=1)
    plots.confusion_table(FIGURES / "confusion.csv", split, labels, predicted, p.classes)
    plots.confusion_matrix(FIGURES / "confusion.png", split, labels, predicted, p.classes)
    plots.reliability(FIGURES / "reliability.png", split, labels, probability)
    worst = confident_mistakes(labels, probability, p.evaluate.mistakes)
    captions = [
        f"{p.classes[labels[i]]}\n→ {p.classes[predicted[i]]} {probability[i].max():.2f}" for i in worst
    ]
    faces = samples.take(torch.from_numpy(worst)).cpu().numpy()
    plots.mistakes_sheet(FIGURES / "mistakes.png", split, faces, captions)


def _line(name: str, found: dict[str, Any]) -> str:
    values = [found[key] for key in ("accuracy", "macro_recall", "macro_f1")]
    accuracy, recall, f1 = ("-" if value is None else f"{value:.4f}" for value in values)
    bounds = found["interval"]["accuracy"] if "interval" in found else None
    interval = f"{bounds['low']:.4f} - {bounds['high']:.4f}" if bounds else "-"
    return f"{name:>20} {found['images']:8,}  {accuracy:>8}  {interval:>16}  {recall:>12}  {f1:>8}"
