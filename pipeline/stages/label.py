"""Stage `label`: votes to labels or distributions, classes filtered, splits drawn, leaks between them found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer

from pipeline.core.errors import UserError
from pipeline.core.files import replacing_folder, write_json
from pipeline.core.progress import in_words
from pipeline.faces import alignment
from pipeline.figures import labels as sheets
from pipeline.labels import agreement, duplicates, likeness, voting
from pipeline.labels.splits import DRAWN, draw, random_order
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, METRICS, PLOTS
from pipeline.tables.schema import DRAW
from pipeline.tables.schema import labels as labels_of
from pipeline.tables.store import Faces, read_parquet, take_parquet, write_rows
from pipeline.tables.vocabulary import SPLITS, VOTES

FIGURES = PLOTS / "label"

_COLUMNS = ["id", "dataset", "split", "votes", "label", "group", "pixels"]

# What ingest and align leave for each data set, by folder.
_OUTPUTS = {
    ALIGNED: (".arrow",),
    INGESTED: (".parquet", ".rejected.csv"),
    METRICS / "ingest": (".json",),
    METRICS / "align": (".json",),
}


def run(p: Params) -> None:
    """Write `data/labels.parquet`, sorted by id, and the metrics, from the data sets that params.yaml lists.

    Duplicates and groups are counted over all pictures, whether or not they get a label; `duplicate_of` and
    `cluster` name rows of the table. Splits are drawn before classes are chosen, so that a picture stays in its
    split whatever `classes`, `labels.min_votes` and `labels.min_share` are.

    Raises:
        UserError: a data set was not ingested or aligned, or no sample is left.
    """
    pictures, faces = _pictures(p.datasets)
    not_read = {name: _not_read(name) for name in p.datasets}
    _remove_others(p.datasets)
    datasets, pixels = pictures["dataset"].to_numpy(), pictures["pixels"].to_pylist()
    groups = _groups(pictures)
    clusters = _clusters(pixels, *faces)

    votes = _votes(pictures)
    voted = votes.sum(axis=1) > 0
    winners, targets, reasons = _labels(p, pictures, votes, voted)
    splits = _splits(p, pictures, winners, clusters, groups)
    usable = np.flatnonzero(reasons == "")
    repeated = duplicates.leaking(p.labels.duplicates, splits[usable], clusters[usable])
    reasons[usable[repeated]] = "duplicate"
    keep = reasons == ""
    if not keep.any():
        dropped = in_words(_counted(reasons))
        raise UserError(f"{', '.join(p.datasets)}: found no sample to train on; dropped: {dropped}")

    labels = np.array(VOTES)[winners]
    new = keep & (splits != pictures["split"].fill_null("train").to_numpy())
    existing = [split for split in SPLITS if split in splits]

    def counted(rows: np.ndarray) -> dict[str, Any]:
        """Return what became of the pictures in `rows`, bool [N], and how far their annotators agree."""
        kept = {split: labels[rows & keep & (splits == split)].tolist() for split in existing}
        return {
            "kept": {split: len(kept[split]) for split in existing},
            "drawn": {
                split: count for split in DRAWN if (count := int((rows & new & (splits == split)).sum()))
            },
            "classes": {split: {name: kept[split].count(name) for name in p.classes} for split in existing},
            "dropped": _counted(reasons[rows & ~keep]),
            "agreement": agreement.describe(votes[rows & voted]),
        }

    several = len(p.datasets) > 1
    leaks = duplicates.between_splits(splits, clusters)
    metrics = {
        "rule": p.labels.rule,
        **counted(np.ones(len(keep), bool)),
        "not_read": not_read,
        "duplicates": duplicates.between_splits(splits, pixels),
        "near_duplicates": {
            **leaks,
            "within": duplicates.within_splits(splits, clusters),
            **({"datasets": duplicates.between_datasets(datasets, clusters)} if several else {}),
        },
        "groups": duplicates.between_splits(splits, groups) if any(groups) else {},
        **({"datasets": {name: counted(datasets == name) for name in p.datasets}} if several else {}),
    }
    rows = _rows(pictures.filter(pa.array(keep)), splits[keep], labels[keep], targets[keep], clusters[keep])
    write_rows(LABELS, labels_of(p.classes), rows)
    write_json(METRICS / "label.json", metrics)
    with replacing_folder(FIGURES) as folder:
        for name in p.datasets:
            of = (
                datasets == name
            )  # pictures and tables are sorted by id: the data set's rows in the same order
            _draw(p, folder, name, np.where(keep, labels, "")[of], votes[of])
    kept, dropped = in_words(metrics["kept"]), in_words(metrics["dropped"])
    typer.echo(f"label: kept {keep.sum():,} of {len(keep):,} pictures by {p.labels.rule} ({kept})")
    if dropped:
        typer.echo(f"label: dropped {(~keep).sum():,} ({dropped})")
    if any(leaks.values()):
        typer.echo(
            f"label: pictures in two splits ({in_words(leaks)}); labels.duplicates: {p.labels.duplicates}"
        )


def _remove_others(datasets: list[str]) -> None:
    """Remove what an earlier, longer list of data sets left behind, and the halves of files of a killed run.

    This stage depends on the folders: a copy of the project that never had the longer list must not differ.
    """
    for folder, endings in _OUTPUTS.items():
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            left_behind = path.name.endswith(endings) and path.name.split(".")[0] not in datasets
            if left_behind or (path.name.startswith(".") and path.name.endswith(".part")):
                path.unlink()


def _pictures(names: list[str]) -> tuple[pa.Table, tuple[np.ndarray, np.ndarray]]:
    """Return the pictures of all data sets by id, and what their faces are compared by (`likeness.describe`).

    Columns: those of `_COLUMNS`; `status` of the face; `draw`, the splits to draw (`schema.DRAW`).
    """
    tables, described = [], []
    for name in names:
        path = INGESTED / f"{name}.parquet"
        ingested = read_parquet(path, _COLUMNS)
        faces = Faces(ALIGNED / f"{name}.arrow")
        if not faces.table["id"].equals(ingested["id"]):
            raise UserError(
                f"{ALIGNED / name}.arrow: found {len(faces):,} faces, expected: one for each of the "
                f"{len(ingested):,} pictures in {path}, in their order; run the stage align@{name} again"
            )
        to_draw = (ingested.schema.metadata or {}).get(DRAW, b"").decode()
        if unknown := set(filter(None, to_draw.split(","))) - set(DRAWN):
            raise UserError.of(path, f"{unknown.pop()!r} to draw", DRAWN)
        table = ingested.append_column("status", faces.table["status"])
        tables.append(table.append_column("draw", pa.array([to_draw] * len(table))).replace_schema_metadata())
        described.append(likeness.describe(faces))
    pictures = pa.concat_tables(tables, promote_options="default")
    order = pc.sort_indices(pictures["id"])
    low, signs = (np.concatenate(parts)[order] for parts in zip(*described, strict=True))
    return pictures.take(order).combine_chunks(), (low, signs)


def _labels(
    p: Params, pictures: pa.Table, votes: np.ndarray, voted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each picture the winner, its target [N, K], and why it is no sample: "" if it is one."""
    merged = voting.merged(votes, p.labels.merge)
    winners = voting.RULES[p.labels.rule](merged)
    single = [p.labels.merge.get(name, name) for name in pictures["label"].drop_null().to_pylist()]
    winners[~voted] = [VOTES.index(name) for name in single]
    targets = voting.one_hot(winners, p.classes)
    if p.labels.rule == "distribution":
        targets[voted] = voting.shares(merged[voted], p.classes)

    missing = np.array(pictures["status"]) == "missing"
    no_label = voting.why_dropped(winners, p.classes)
    weak = voting.too_weak(merged, winners, p.labels.min_votes, p.labels.min_share)
    reasons = np.where(missing, "missing_face", np.where(no_label == "", weak, no_label))
    return winners, targets, reasons.astype(object)


def _clusters(pixels: list[str], low: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the cluster of each picture, int [N], from fingerprints and what `likeness.describe` returned."""
    copies = duplicates.links(pixels)
    # One of each is compared: among thousands of copies of a placeholder every pair would be looked at.
    distinct = np.unique(copies[:, 0])
    alike = distinct[likeness.pairs(low[distinct], signs[distinct])]
    return duplicates.connected(len(pixels), [copies, alike])


def _draw(p: Params, folder: Path, dataset: str, labels: np.ndarray, votes: np.ndarray) -> None:
    """Draw a data set's faces and landmarks; labels [N], "" for no sample, and votes [N, 10] in file order."""
    faces = Faces(ALIGNED / f"{dataset}.arrow")
    images = partial(take_parquet, INGESTED / f"{dataset}.parquet", "image")
    searched = p.align.mode != "none"
    sheets.contact_sheet(
        folder / f"{dataset}.png", dataset, faces, labels, votes, p.classes, searched, images
    )
    landmarks = faces.table["landmarks"].combine_chunks()
    points = landmarks.drop_null().flatten().to_numpy().reshape(-1, 5, 2)
    rows = np.flatnonzero(landmarks.is_valid())
    # Cut out by its box a face does not lie on the reference points.
    on_reference = p.align.mode == "five_point" and len(rows) > 0
    sheets.landmark_scatter(
        folder / f"{dataset}-landmarks.png",
        dataset,
        alignment.carried(points),
        alignment.REFERENCE,
        alignment.REFERENCE_SIZE,
        sheets.mean_face(faces, rows) if on_reference else None,
    )


def _groups(pictures: pa.Table) -> list[tuple[str, str] | None]:
    """Return the data set and the group of each picture, None if it has none."""
    names = zip(pictures["dataset"].to_pylist(), pictures["group"].to_pylist(), strict=True)
    return [None if group is None else (dataset, group) for dataset, group in names]


def _splits(
    p: Params, pictures: pa.Table, winners: np.ndarray, clusters: np.ndarray, groups: list[Any]
) -> np.ndarray:
    """Return the split of each picture, drawn where the data set does not publish it, [N]."""
    to_draw = [text.split(",") for text in pictures["draw"].to_pylist()]
    datasets = np.unique(pictures["dataset"].to_numpy(), return_inverse=True)[1]
    return draw(
        splits=pictures["split"].fill_null("").to_numpy().astype(str),
        drawable=np.array([[split in splits for split in DRAWN] for splits in to_draw]),
        strata=datasets * (len(VOTES) + 1) + winners + 1,
        groups=duplicates.connected(
            len(pictures), [duplicates.links(clusters.tolist()), duplicates.links(groups)]
        ),
        order=random_order(pictures["id"].to_pylist(), p.seed),
        shares=(p.labels.valid, p.labels.test),
    )


def _votes(pictures: pa.Table) -> np.ndarray:
    """Return the votes, int64 [N, 10] in the order of `schema.VOTES`; zeros where a picture has one label."""
    columns = pictures["votes"].combine_chunks().flatten()
    return np.stack(
        [column.fill_null(0).to_numpy(zero_copy_only=False) for column in columns], axis=1
    ).astype(np.int64)


def _rows(
    kept: pa.Table, splits: np.ndarray, labels: np.ndarray, targets: np.ndarray, clusters: np.ndarray
) -> Iterator[dict[str, Any]]:
    ids, datasets, pixels = (kept[name].to_pylist() for name in ("id", "dataset", "pixels"))
    first = duplicates.first_ids(ids, splits, pixels)
    copies = [None if name == id_ else name for name, id_ in zip(first, ids, strict=True)]
    same = duplicates.first_ids(ids, splits, clusters.tolist())
    rows = zip(ids, datasets, splits.tolist(), labels.tolist(), targets, copies, same, strict=True)
    for row in rows:
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
