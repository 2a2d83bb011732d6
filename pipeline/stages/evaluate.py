"""Stage `evaluate`: score the trained classifier on the real faces of every split."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipeline.core.errors import UserError, not_made
from pipeline.core.files import replacing, replacing_folder, write_json
from pipeline.core.progress import say
from pipeline.evaluation import feature_map
from pipeline.evaluation.groups import group_scores
from pipeline.evaluation.intervals import intervals
from pipeline.evaluation.metrics import confident_mistakes, headline, scores
from pipeline.evaluation.warnings import warnings
from pipeline.figures import scores as plots
from pipeline.inference import device
from pipeline.inference.crops import VIEWS
from pipeline.inference.model_file import TrainedModel, load
from pipeline.inference.probabilities import probabilities_and_features
from pipeline.inference.samples import LabelledFaces, Samples
from pipeline.params.model import Params
from pipeline.tables.attributes import GAP, UNKNOWN, check_groups, values_of
from pipeline.tables.columns import numbers, shared, texts
from pipeline.tables.paths import ALIGNED, CLASSIFIER, LABELS, METRICS, PLOTS, PREDICTIONS
from pipeline.tables.schema import predictions as prediction_columns
from pipeline.tables.store import BATCH_ROWS, fill, read_parquet
from pipeline.tables.vocabulary import SCORED

WIDTH = 100  # characters in a printed line
_COLUMNS = "images  accuracy    95 % interval  macro recall  macro F1  classes"


def run(p: Params) -> None:
    """Write scores, predictions and plots; print the scores of each split and data set, and what limits them."""
    where = device.pick(p.train.device)
    model = load(CLASSIFIER, where)
    table = _labelled(p.datasets)
    check_groups(p.evaluate.groups, texts(table["attributes"]))
    faces = LabelledFaces(p.classes, p.datasets, p.align).everything()
    _check(p, model, faces.shape)
    splits, clusters = _scored_splits(model, table), numbers(table["cluster"])

    report: dict[str, Any] = {
        "rule": p.labels.rule,
        "ten_crop": p.evaluate.ten_crop,
        "mirror": p.evaluate.mirror,
        "bootstrap": p.evaluate.bootstrap,
        **_origin(p.datasets),
    }
    everything = np.zeros((len(faces), len(p.classes)), np.float32)
    on_map = np.zeros((len(faces), 2), np.float32)
    earlier = np.zeros(len(faces), bool)
    plane: feature_map.PCA | None = None
    # The outputs of an earlier run are replaced only when all new ones are complete.
    with replacing(PREDICTIONS) as path, replacing_folder(PLOTS / "evaluate") as folder:
        for split in [name for name in SCORED if (splits == name).any()]:
            rows = np.flatnonzero(splits == split)
            samples = faces.at(rows).to(where)
            labels = samples.labels.numpy()
            if plane is None:  # train, if there is one
                some = samples.at(feature_map.spread(len(samples))).to(where)
                plane = feature_map.fit(_scored(p, model, some, "features")[1])
            chances, on_map[rows] = _scored(p, model, samples, split, plane.transform)
            everything[rows] = chances
            fresh = (clusters[rows] < 0) | ~np.isin(clusters[rows], clusters[earlier])
            parts = _parts(
                p, table.take(rows), labels, chances.argmax(axis=1), fresh if earlier.any() else None
            )
            report[split] = scores(labels, chances, p.classes) | parts
            _draw(p, folder / split, split, samples, chances)
            earlier[rows] = split in ("train", "valid")
        predictions = _predictions(table, splits, everything, on_map, p.classes)
        fill(path, PREDICTIONS.suffix, predictions.schema, predictions.to_batches(BATCH_ROWS))
        write_json(METRICS / "evaluate.json", report)
    say("\n".join(_lines(report)))


def _labelled(datasets: list[str]) -> pa.Table:
    """Return id, dataset, split, label, cluster and attributes of the labelled samples of data sets."""
    table = read_parquet(LABELS, ["id", "dataset", "split", "label", "cluster", "attributes"])
    table = table.filter(pc.is_in(table["dataset"], value_set=pa.array(datasets, pa.string())))
    if not len(table):
        raise UserError.of(LABELS, "no samples", "at least one; metrics/label.json counts the dropped")
    return table


def _scored_splits(model: TrainedModel, table: pa.Table) -> np.ndarray:
    """Return the split of `SCORED` to which each labelled sample belongs, object [N]."""
    splits, datasets = shared(table["split"]), shared(table["dataset"])
    as_published = (splits == "test") | np.isin(datasets, model.datasets)
    of_gan = (splits == "train") & np.isin(datasets, model.gan_datasets)
    return np.select([as_published, of_gan], [splits, "gan_train"], "unlearned")


def _predictions(
    table: pa.Table, splits: np.ndarray, probabilities: np.ndarray, on_map: np.ndarray, classes: list[str]
) -> pa.Table:
    """Return `data/predictions.parquet`: the labelled samples with the splits in which they were scored.

    Args:
        table: the samples, N rows.
        splits: object [N].
        probabilities: float32 [N, K].
        on_map: float32 [N, 2], the places of the features on their map.
        classes: K names in label order.
    """
    ends = np.arange(len(table) + 1, dtype=np.int32) * len(classes)
    columns = {name: table[name] for name in ("id", "dataset", "label")} | {
        "split": splits,
        "predicted": np.array(classes, object)[probabilities.argmax(axis=1)],
        "probabilities": pa.ListArray.from_arrays(ends, probabilities.ravel()),
        "x": on_map[:, 0],
        "y": on_map[:, 1],
    }
    return pa.table(columns, prediction_columns(classes)).combine_chunks()


def _origin(datasets: list[str]) -> dict[str, Any]:
    """Return what `pipeline.evaluation.warnings` says of the data: `records`, `rejected` and `drawn`.

    `records` and `rejected` count the published records of each data set, and those that ingest rejected. `drawn`
    counts the samples of splits that are not published.
    """
    path = METRICS / "label.json"
    try:
        label = json.loads(path.read_text(encoding="utf-8"))
        parts = label.get("datasets", {datasets[0]: label})
        rejected = {name: sum(label["not_read"][name].values()) for name in datasets}
        read = {name: [*parts[name]["kept"].values(), *parts[name]["dropped"].values()] for name in datasets}
        records = {name: sum(read[name]) + rejected[name] for name in datasets}
        return {"records": records, "rejected": rejected, "drawn": label["drawn"]}
    except FileNotFoundError:
        raise not_made(path) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not the metrics of {', '.join(datasets)}; run `dvc repro`") from None


def _parts(
    p: Params,
    rows: pa.Table,
    labels: np.ndarray,
    predicted: np.ndarray,
    fresh: np.ndarray | None,
) -> dict[str, Any]:
    """Return the intervals of a split, and the scores of its parts with theirs.

    `deduplicated` covers the images that train and valid above it do not hold, exactly or nearly: those in `fresh`,
    bool [N]. The first split has no `fresh` and no `deduplicated`. If there are several data sets, `datasets.<name>`
    has the scores of each, with its own `deduplicated`. `groups.<attribute>` has those of `evaluate.groups`.
    """
    whole = np.ones(len(rows), bool)

    def bounds(of: np.ndarray) -> dict[str, Any]:
        count = len(p.classes)
        return {"interval": intervals(labels[of], predicted[of], count, p.evaluate.bootstrap, p.seed)}

    def scored(of: np.ndarray) -> dict[str, Any]:
        return headline(labels[of], predicted[of], p.classes) | bounds(of)

    def without_repeats(of: np.ndarray) -> dict[str, Any]:
        return {} if fresh is None else {"deduplicated": scored(of & fresh)}

    def grouped(attribute: str) -> dict[str, Any]:
        values = values_of(rows["attributes"], attribute).fill_null(UNKNOWN)
        return group_scores(values, labels, predicted, p.classes, p.evaluate.bootstrap, p.seed)

    parts = bounds(whole) | without_repeats(whole)
    if len(p.datasets) > 1:
        sources = shared(rows["dataset"])
        chosen = {name: of for name in p.datasets if (of := sources == name).any()}
        parts["datasets"] = {name: scored(of) | without_repeats(of) for name, of in chosen.items()}
    if p.evaluate.groups:
        parts["groups"] = {name: grouped(name) for name in p.evaluate.groups}
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


def _scored(
    p: Params, model: TrainedModel, samples: Samples, split: str, reduce: Any = lambda features: features
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class probabilities of a split, float32 [N, K], and its features after `reduce`, float32 [N, R]."""
    # The precision of training: the accuracy on valid is the one that chose the best epoch.
    precision = device.pick_precision(p.train.precision, samples.targets.device)
    crops, size = VIEWS["ten" if p.evaluate.ten_crop else "mirror" if p.evaluate.mirror else "centre"]
    batches = samples.batches(size, f"evaluate {split}")
    chances, features = probabilities_and_features(
        model.network, batches, model.crop, crops, precision, reduce
    )
    if not np.isfinite(chances).all():
        raise UserError(
            f"{CLASSIFIER}: found probabilities that are not numbers: training diverged; "
            f"a lower optimizers.{p.optimizer}.learning_rate may prevent it"
        )
    return chances, features


def _draw(p: Params, folder: Path, split: str, samples: Samples, chances: np.ndarray) -> None:
    labels, predicted = samples.labels.numpy(), chances.argmax(axis=1)
    plots.confusion_table(folder / "confusion.csv", split, labels, predicted, p.classes)
    plots.confusion_matrix(folder / "confusion.png", split, labels, predicted, p.classes)
    plots.reliability(folder / "reliability.png", split, labels, chances)
    worst = confident_mistakes(labels, chances, p.evaluate.mistakes)
    captions = [f"{p.classes[labels[i]]}\n→ {p.classes[predicted[i]]} {chances[i].max():.2f}" for i in worst]
    faces = samples.take(torch.from_numpy(worst)).cpu().numpy()
    plots.mistakes_sheet(folder / "mistakes.png", split, faces, captions)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the printed lines: scores of splits and data sets, of the groups on the last split, and warnings."""
    yield f"{'evaluate:':<20}   {_COLUMNS}"
    splits = [name for name in SCORED if name in report]
    for split in splits:
        total = len(report[split]["per_class"])
        yield _line(split, report[split], total)
        for name, part in report[split].get("datasets", {}).items():
            yield _line(name, part, total)
        if "deduplicated" in report[split]:
            yield _line("without repeats", report[split]["deduplicated"], total)
    if any("deduplicated" in report[split] for split in splits):
        yield "without repeats: only the images that train and valid above it do not hold, exactly or nearly"
    last = splits[-1]
    for attribute, groups in report[last].get("groups", {}).items():
        yield f"{f'{last} by {attribute}:':<20}   {_COLUMNS}"
        for value, part in groups.items():
            if value != GAP:
                yield _line(value, part | {"images": part["support"]}, total)
        gaps = {"largest gap": groups[GAP], "by chance, up to": groups[GAP]["chance"]}
        for name, row in gaps.items():
            if row:
                accuracy, recall, f1 = _shown(row)
                yield f"{name:>20} {'':8}  {accuracy:>8}  {'':15}  {recall:>12}  {f1:>8}"
    for warning in warnings(report):
        yield textwrap.fill(
            warning, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )


def _line(name: str, figures: dict[str, Any], total: int) -> str:
    accuracy, recall, f1 = _shown(figures)
    bounds = figures["interval"].get("accuracy")
    interval = f"{bounds['low']:.4f} - {bounds['high']:.4f}" if bounds else "-"
    classes = f"{figures['classes']} of {total}"
    return f"{name:>20} {figures['images']:8,}  {accuracy:>8}  {interval:>15}  {recall:>12}  {f1:>8}  {classes:>7}"


def _shown(figures: dict[str, Any]) -> list[str]:
    """Return accuracy, macro recall and macro F1 as text."""
    values = [figures[key] for key in ("accuracy", "macro_recall", "macro_f1")]
    return ["-" if value is None else f"{value:.4f}" for value in values]
