"""Stage `ingest`: read a published data set; every record is kept, or rejected with a reason and listed."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import typer

from pipeline.datasets._image import decode, fingerprint
from pipeline.datasets._record import Listing, Record, Refused, Rejected
from pipeline.errors import UserError
from pipeline.parallel import ordered
from pipeline.params import Params, choices
from pipeline.paths import INGESTED, METRICS, RAW
from pipeline.progress import track
from pipeline.schema import INGESTED as COLUMNS
from pipeline.schema import REJECTED, SPLITS, VOTES, replacing, write_json, write_parquet

# Pictures that a thread takes at a time: enough to hide the hand-over, few enough to keep memory flat.
CHUNK = 16

Row = dict[str, Any]


def run(p: Params, dataset: str) -> None:
    """Write `data/ingested/<dataset>.parquet`, the list of rejected rows beside it, and the metrics.

    Raises:
        UserError: no such data set or folder, a tree of another shape, or nothing in it can be used.
    """
    listing = _listing(dataset)
    rejected, kept = list(listing.rejected), Counter[str]()
    records = sorted(listing.records, key=lambda record: record.name)
    total = len(records) + len(rejected)

    def rows() -> Iterator[Row]:
        chunks = ordered(lambda chunk: [_check(dataset, record) for record in chunk], _chunks(records))
        checked = chain.from_iterable(chunks)
        for result in track(checked, total=len(records), desc=f"ingest {dataset}", unit="images"):
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                kept[result["split"]] += 1
                yield result
        rejected.sort(key=lambda row: (row.file, row.row))
        if not kept:
            raise UserError(f"{RAW / dataset}: found no usable record: {_none_left(rejected)}")

    write_parquet(INGESTED / f"{dataset}.parquet", COLUMNS, rows())
    listed = INGESTED / f"{dataset}.rejected.csv"
    _write_rejected(listed, rejected)
    reasons = dict(sorted(Counter(row.reason for row in rejected).items()))
    splits = {split: kept[split] for split in SPLITS if kept[split]}
    metrics = {
        "records": total,
        "kept": kept.total(),
        "rejected": reasons,
        "splits": splits,
        "notes": listing.notes,
    }
    write_json(METRICS / "ingest" / f"{dataset}.json", metrics)

    typer.echo(f"ingest {dataset}: kept {kept.total():,} of {total:,} records ({_counts(splits)})")
    if ignored := listing.notes.get("ignored_columns"):
        typer.echo(
            f"ingest {dataset}: ignored the columns {', '.join(ignored)}: not in the vocabulary of votes"
        )
    if rejected:
        typer.echo(f"ingest {dataset}: rejected {len(rejected):,} ({_counts(reasons)}), listed in {listed}")


def _listing(dataset: str) -> Listing:
    if dataset not in choices("dataset"):
        raise UserError(f"dataset: found {dataset!r}, allowed: {', '.join(choices('dataset'))}")
    folder = RAW / dataset
    if not folder.is_dir():
        found = (
            f"a link to {os.readlink(folder)}, which is not a folder" if folder.is_symlink() else "nothing"
        )
        raise UserError(
            f"{folder}: found {found}, expected: the folder of the data set or a symbolic link to it"
        )
    return import_module(f"pipeline.datasets.{dataset}").records(folder)


def _check(dataset: str, record: Record) -> Row | Rejected:
    """Read and decode one picture, once."""
    try:
        data = record.image()
        pixels = decode(data)
    except Refused as why:
        return Rejected(record.file, record.row, record.name, why.reason, why.detail)
    return {
        "id": f"{dataset}/{record.name}",
        "dataset": dataset,
        "split": record.split,
        "image": data,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "votes": record.votes and dict(zip(VOTES, record.votes, strict=True)),
        "label": record.label,
        "group": record.group,
        "source": record.source,
        "pixels": fingerprint(pixels),
    }


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    remaining = iter(records)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _write_rejected(path: Path, rejected: list[Rejected]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(REJECTED)
        writer.writerows((row.file, row.row, row.record, row.reason, row.detail) for row in rejected)


def _none_left(rejected: list[Rejected]) -> str:
    if not rejected:
        return "there is no row"
    first = rejected[0]
    reasons = _counts(Counter(row.reason for row in rejected))
    return f"rejected {reasons}; the first: {first.file}, row {first.row}: {first.detail}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
