"""Stage `ingest`: read a published data set; every record is kept, or rejected with a reason and listed."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer

from pipeline.core.errors import UserError
from pipeline.core.files import replacing, write_json
from pipeline.core.parallel import ordered
from pipeline.core.progress import bar, in_words
from pipeline.intake.image import decode, fingerprint
from pipeline.intake.landmarks import inside
from pipeline.intake.listing import Listing, Refused, Rejected, Rejections
from pipeline.intake.open import open_tree
from pipeline.params.methods import choices
from pipeline.params.model import Params
from pipeline.tables.paths import INGESTED, METRICS, RAW
from pipeline.tables.schema import SPLITS, VOTES, ingested
from pipeline.tables.storage import given
from pipeline.tables.store import fill

# What a worker takes at a time: enough pictures to hide the hand-over, few enough bytes to keep memory flat.
CHUNK, CHUNK_BYTES = 1536, 8 * 2**20
# Bytes of pictures after which a worker begins another batch: an Arrow column of them holds 2 GiB.
_BATCH_BYTES = 2**30

_READ = pa.schema(
    [
        ("image", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("pixels", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


def run(p: Params, dataset: str, source: str | Path | None = None, output: str | Path = INGESTED) -> None:
    """Write `data/ingested/<dataset>.parquet`, the list of rejected rows beside it, and the metrics.

    Args:
        p: the whole of `params.yaml`.
        dataset: name of the data set.
        source: folder, archive or `s3://` address of the raw data; None: `data/raw/<dataset>`.
        output: folder or `s3://` address of the result; the metrics go there too if it is not the default.

    Raises:
        UserError: no such data set or folder, a tree of another shape, or nothing in it can be used.
    """
    if dataset not in choices("dataset"):
        raise UserError.of("dataset", repr(dataset), choices("dataset"))
    tree = open_tree(source or RAW / dataset)
    listing = import_module(f"pipeline.datasets.{dataset}").records(tree)
    listing.settle()
    with given(output) as folder:
        _write(
            p,
            dataset,
            tree.address,
            listing,
            folder,
            METRICS / "ingest" if Path(output) == INGESTED else folder,
        )


def _write(
    p: Params, dataset: str, address: str, listing: Listing, folder: Path, metrics_folder: Path
) -> None:
    kept: Counter[str] = Counter()
    rows = _kept(dataset, address, listing, p.engine, kept)
    table, listed = folder / f"{dataset}.parquet", folder / f"{dataset}.rejected.csv"
    # Both are whole before either takes the place of an earlier run's.
    with replacing(listed) as new_list, replacing(table) as new_table:
        fill(new_table, table.suffix, ingested(listing.draw), rows)
        reasons = listing.rejected.reasons()
        _write_rejected(new_list, listing.rejected)
    splits = {split: kept[split] for split in (*SPLITS, "") if kept[split]}
    splits = {split or "none": count for split, count in splits.items()}
    total = kept.total() + sum(reasons.values())
    metrics = {
        "records": total,
        "kept": kept.total(),
        "rejected": reasons,
        "splits": splits,
        "notes": listing.notes,
    }
    write_json(metrics_folder / f"{dataset}.json", metrics)

    typer.echo(f"ingest {dataset}: kept {kept.total():,} of {total:,} records ({in_words(splits)})")
    if ignored := listing.notes.get("ignored_columns"):
        typer.echo(f"ingest {dataset}: ignored the columns {ignored}: not in the vocabulary of votes")
    if reasons:
        typer.echo(
            f"ingest {dataset}: rejected {sum(reasons.values()):,} ({in_words(reasons)}), listed in {listed}"
        )


@dataclass(frozen=True)
class Check:
    """Reads and decodes the pictures at some places, each once; what is refused has a reason and no picture."""

    read: Callable[[str], bytes]

    def __call__(self, places: list[str]) -> list[pa.RecordBatch]:
        """Return a row of `_READ` for each place, in one batch unless the pictures are large."""
        batches: list[pa.RecordBatch] = []
        while places:
            batches.append(self._batch(places))
            places = places[len(batches[-1]) :]
        return batches

    def _batch(self, places: list[str]) -> pa.RecordBatch:
        """Return a row for each of the first places; for all of them, unless their pictures are large."""
        size = 0
        rows: list[tuple[bytes, int, int, str, str | None, str | None]] = []
        for place in places:
            try:
                data = self.read(place)
                pixels = decode(data)
                height, width = pixels.shape[:2]
                rows.append((data, width, height, fingerprint(pixels), None, None))
                size += len(data)
                if size > _BATCH_BYTES:
                    break
            except Refused as why:
                rows.append((b"", 0, 0, "", why.reason, why.detail))
        images, *others = zip(*rows, strict=True)
        return pa.record_batch([_binary(images), *map(pa.array, others, _READ.types[1:])], schema=_READ)


def _binary(values: Sequence[bytes]) -> pa.Array:
    """Return values as one column, in a third of the time that Arrow needs for it."""
    ends = np.cumsum([0, *map(len, values)]).astype(np.int32)
    data = pa.py_buffer(b"".join(values))
    return pa.Array.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(ends), data])


def _kept(
    dataset: str, address: str, listing: Listing, engine: str, kept: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the table in order; count them by split in `kept`, and list the others as rejected."""
    under_way: deque[pa.RecordBatch] = deque()
    chunk = CHUNK // 8  # until it is known how large the pictures are

    def places() -> Iterator[list[str]]:
        start = 0
        while start < len(listing):
            under_way.append(listing.batch(start, chunk))
            start += len(under_way[-1])
            yield under_way[-1]["place"].to_pylist()

    def matched() -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        nonlocal chunk
        for parts in ordered(Check(listing.read), places(), engine):
            batch = under_way.popleft()
            size = sum(part["image"].nbytes for part in parts)
            chunk = max(1, min(CHUNK, CHUNK_BYTES * len(batch) // max(1, size)))
            for part in parts:
                yield batch.slice(0, len(part)), part
                batch = batch.slice(len(part))
            next(listing.beside, None)

    offered: Counter[str] = Counter()
    with bar(len(listing), desc=f"ingest {dataset}", unit="images") as shown:
        for batch, result in matched():
            shown.update(len(batch))
            refused = pc.is_valid(result["reason"])
            if pc.any(refused).as_py():
                why = result.filter(refused)
                listing.reject_all(batch.filter(refused), why["reason"], why["detail"])
                good = pc.invert(refused)
                batch, result = batch.filter(good), result.filter(good)
            for entry in batch["split"].value_counts().to_pylist():
                kept["" if entry["values"] is None else SPLITS[entry["values"]]] += entry["counts"]
            for name in ("box", "landmarks"):
                if count := len(batch) - batch[name].null_count:
                    checked = inside(batch[name], result["width"], result["height"])
                    offered[name] += count
                    offered[f"{name}_ignored"] += checked.null_count - batch[name].null_count
                    batch = batch.set_column(batch.schema.get_field_index(name), name, checked)
            yield _table(dataset, batch, result, ingested(listing.draw))
    for _ in listing.beside:
        pass
    if offered:
        listing.notes["given"] = dict(sorted(offered.items()))
    if not kept:
        raise UserError(f"{address}: found no usable record: {_none_left(listing.rejected)}")


def _table(dataset: str, batch: pa.RecordBatch, result: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Put together what the data set says of pictures and what was found in their files."""
    count = len(batch)
    rows = pc.cast(batch["row"], pa.string())
    file = pc.cast(batch["file"], pa.string())
    source = pc.if_else(pc.equal(batch["row"], 0), file, pc.binary_join_element_wise(file, rows, ", row "))
    votes = batch["votes"]
    absent = pc.is_null(votes)
    numbers = np.zeros((count, len(VOTES)), np.int32)
    numbers[~absent.to_numpy(zero_copy_only=False)] = votes.flatten().to_numpy().reshape(-1, len(VOTES))
    columns = {
        "id": pc.binary_join_element_wise(dataset, batch["name"], "/"),
        "dataset": pa.array([dataset] * count, pa.string()),
        "split": pa.array(SPLITS).take(batch["split"]),
        "votes": pa.StructArray.from_arrays(
            [pa.array(column) for column in numbers.T],
            fields=list(schema.field("votes").type),
            mask=absent,
        ),
        "label": pc.cast(batch["label"], pa.string()),
        "group": batch["group"],
        "source": source,
        "box": batch["box"],
        "landmarks": batch["landmarks"],
    }
    columns |= {name: result[name] for name in ("image", "width", "height", "pixels")}
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _write_rejected(path: Path, rejected: Rejections) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Rejected._fields)
        writer.writerows(rejected.ordered())


def _none_left(rejected: Rejections) -> str:
    if not len(rejected):
        return "there is no row"
    first = next(iter(rejected))
    reasons = in_words(rejected.reasons())
    return f"rejected {reasons}; the first: {first.file}, row {first.row}: {first.detail}"
