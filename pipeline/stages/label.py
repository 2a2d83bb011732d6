"""Stage `label`: votes to labels or distributions, classes filtered, duplicates between splits counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import typer

from pipeline.errors import UserError
from pipeline.labels import agreement, duplicates, voting
from pipeline.params import Params
from pipeline.paths import ALIGNED, INGESTED, LABELS, METRICS
from pipeline.schema import SPLITS, VOTES, Faces, read_parquet, write_json, write_parquet
from pipeline.schema import labels as labels_of

# What ingest and align leave for each data set, by folder.
_OUTPUTS = {
    ALIGNED: (".arrow",),
    INGESTED: (".parquet", ".rejected.csv"),
    METRICS / "ingest": (".json",),
    METRICS / "align": (".json",),
}


def run(p: Params) -> None:
    """Write `data/labels.parquet`, sorted by id, and the metrics, from the data sets that params.yaml lists.

    Duplicates between splits are counted over all pictures, whether or not they get a label; `duplicate_of`
    names a row of the table.

    Raises:
        UserError: a data set was not ingested or aligned, or no sample is left.
    """
    pictures = pa.concat_tables([_pictures(name) for name in p.datasets]).sort_by("id").combine_chunks()
    not_read = {name: _not_read(name) for name in p.datasets}
    _remove_others(p.datasets)
    votes = _votes(pictures)
    voted = votes.any(axis=1)
    winners = voting.RULES[p.labels.rule](votes)
    winners[~voted] = [VOTES.index(label) for label in pictures["label"].drop_null().to_pylist()]

    without_face = np.array(pictures["status"]) == "missing"
    reasons = np.where(without_face, "missing_face", voting.why_dropped(winners, p.classes))
    keep = reasons == ""
    dropped = _counted(reasons[~keep])
    if not keep.any():
        raise UserError(f"{', '.join(p.datasets)}: found no sample to train on; dropped: {_text(dropped)}")

    targets = voting.one_hot(winners, p.classes)
    if p.labels.rule == "distribution":
        targets[voted] = voting.shares(votes[voted], p.classes)
    kept = pictures.filter(pa.array(keep))
    labels = np.array(VOTES)[winners[keep]]
    splits = [split for split in SPLITS if split in set(pictures["split"].to_pylist())]
    labels_by_split = {split: labels[np.array(kept["split"]) == split].tolist() for split in splits}
    kept_by_split = {split: len(labels_by_split[split]) for split in splits}
    metrics = {
        "rule": p.labels.rule,
        "kept": kept_by_split,
        "classes": {
            split: {name: labels_by_split[split].count(name) for name in p.classes} for split in splits
        },
        "dropped": dropped,
        "not_read": not_read,
        "duplicates": duplicates.between_splits(
            pictures["split"].to_pylist(), pictures["pixels"].to_pylist()
        ),
        "agreement": agreement.describe(votes[voted]),
    }
    write_parquet(LABELS, labels_of(p.classes), _rows(kept, labels.tolist(), targets[keep]))
    write_json(METRICS / "label.json", metrics)
    typer.echo(
        f"label: kept {keep.sum():,} of {len(keep):,} pictures by {p.labels.rule} ({_text(kept_by_split)})"
    )
    if dropped:
        typer.echo(f"label: dropped {sum(dropped.values()):,} ({_text(dropped)})")


def _remove_others(datasets: list[str]) -> None:
    """Remove what an earlier, longer list of data sets left behind, and the halves of files of a killed run.

    This stage depends on the folders: a copy of the project that never had the longer list must not differ.
    """
    for folder, endings in _OUTPUTS.items():
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            left_behind = path.name.endswith(endings) and path.name.split(".")[0] not in datasets
            if left_behind or (path.name.startswith(".") and path.name.endswith(".part")):
                path.unlink()


def _pictures(dataset: str) -> pa.Table:
    """Return id, dataset, split, votes, label, pixels (fingerprint) and status of every picture, by id."""
    path = INGESTED / f"{dataset}.parquet"
    ingested = read_parquet(path, ["id", "dataset", "split", "votes", "label", "pixels"])
    faces = Faces(ALIGNED / f"{dataset}.arrow").table
    if not faces["id"].equals(ingested["id"]):
        raise UserError(
            f"{ALIGNED / dataset}.arrow: found {len(faces):,} faces, expected: one for each of the "
            f"{len(ingested):,} pictures in {path}, in their order; run the stage align@{dataset} again"
        )
    return ingested.append_column("status", faces["status"])


def _votes(pictures: pa.Table) -> np.ndarray:
    """Return the votes, int64 [N, 10] in the order of `schema.VOTES`; zeros where a picture has one label."""
    columns = pictures["votes"].combine_chunks().flatten()
    return np.stack(
        [column.fill_null(0).to_numpy(zero_copy_only=False) for column in columns], axis=1
    ).astype(np.int64)


def _rows(kept: pa.Table, labels: list[str], targets: np.ndarray) -> Iterator[dict[str, Any]]:
    ids, datasets, splits, pixels = (kept[name].to_pylist() for name in ("id", "dataset", "split", "pixels"))
    copies = duplicates.first_copies(ids, splits, pixels)
    for row in zip(ids, datasets, splits, labels, targets, copies, strict=True):
        yield dict(zip(labels_of(()).names, row, strict=True))


def _not_read(dataset: str) -> dict[str, int]:
    """Return how many records ingest rejected, by reason: they are in no table."""
    path = METRICS / "ingest" / f"{dataset}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["rejected"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the metrics of ingest; run the stage ingest@{dataset} again") from None


def _counted(reasons: np.ndarray) -> dict[str, int]:
    return dict(sorted(Counter(reasons.tolist()).items()))


def _text(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
