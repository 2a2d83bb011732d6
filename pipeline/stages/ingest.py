"""Stage `ingest`: read a published data set. Every record is kept, or rejected with a reason and listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import UserError, printable
from pipeline.core.files import replacing, write_json
from pipeline.core.progress import bar, in_words, say
from pipeline.datasets import listed
from pipeline.intake.guards import Rejection
from pipeline.intake.image import face_fingerprint
from pipeline.intake.image_reader import IngestedImage, read_images
from pipeline.intake.landmarks import face_box, inside
from pipeline.intake.listing import Listing, Record, RejectedRow
from pipeline.intake.names import Names
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, open_tree
from pipeline.intake.unread import Unread, unread
from pipeline.params.methods import choices
from pipeline.params.model import Params
from pipeline.tables.csv_cells import row_writer
from pipeline.tables.paths import INGESTED, METRICS, RAW
from pipeline.tables.schema import ingested
from pipeline.tables.storage import upload
from pipeline.tables.store import fill
from pipeline.tables.vocabulary import NOT_READ, SPLITS, splits_in_words

# Bytes of encoded images after which a batch of the table ends.
BATCH_BYTES = 32 * 2**20


def run(p: Params, dataset: str, source: str | Path | None = None, output: str | Path = INGESTED) -> None:
    """Write `data/ingested/<dataset>.parquet`, the list of rejected rows beside it, and the metrics.

    Args:
        p: `params.yaml`.
        dataset: name of the data set.
        source: folder, archive or `s3://` address of the raw data; None: `data/raw/<dataset>`.
        output: folder or `s3://` address of the result. Unless it is the default, the metrics go there too.

    Raises:
        UserError: the data set or its folder does not exist, has another layout, or holds no usable record.
    """
    if dataset not in choices("dataset"):
        raise UserError.of("dataset", repr(dataset), choices("dataset"))
    tree = open_tree(source or RAW / dataset)
    listing, part = listed(dataset, tree, Options(Names(p.ingest.names, p.classes), p.ingest.rafdb))
    with upload(output) as folder:
        table, rejected = folder / f"{dataset}.parquet", folder / f"{dataset}.rejected.csv"
        # All outputs are whole before the first one replaces that of an earlier run.
        with replacing(rejected) as new_rejected, replacing(table) as new_table:
            kept = _write_table(listing, p, dataset, new_table, tree.address)
            reasons = dict(sorted(listing.reasons().items()))
            if p.ingest.rejected == "stop":
                _check_linked(tree)
                _check_rejected(listing, kept.total(), tree.address)
            not_read = unread(tree, part, listing)
            _write_rejected(listing.rejected, not_read, new_rejected)
            splits = {split or "none": kept[split] for split in (*SPLITS, None) if kept[split]}
            total = kept.total() + sum(reasons.values())
            metrics = {
                "records": total,
                "kept": kept.total(),
                "rejected": reasons,
                "splits": splits,
                "notes": listing.notes,
            }
            if not_read:
                metrics["files_not_read"] = sum(row.files for row in not_read)
            write_json(
                (METRICS / "ingest" if Path(output) == INGESTED else folder) / f"{dataset}.json", metrics
            )

    say(f"ingest {dataset}: kept {kept.total():,} of {total:,} records ({splits_in_words(splits)})")
    if others := listing.notes.get("other_tables"):
        say(f"ingest {dataset}: tables without a readable column of images: {others}")
    if ignored := listing.notes.get("ignored_columns"):
        expected = "neither known, nor attribute.<name>, nor votes for a name in classes of params.yaml"
        say(f"ingest {dataset}: ignored the columns {ignored}: {expected}")
    if empty := listing.notes.get("empty_folders"):
        say(f"ingest {dataset}: no image in the folders {empty}")
    if reasons:
        say(
            f"ingest {dataset}: rejected {sum(reasons.values()):,} ({in_words(reasons)}), listed in {rejected}"
        )
    if not_read:
        names = ", ".join(
            f"{row.place} {row.files:,}" if row.files > 1 else row.place for row in not_read[:5]
        )
        more = f" and {len(not_read) - 5:,} more, listed in {rejected}" if len(not_read) > 5 else ""
        say(f"ingest {dataset}: files not read: {metrics['files_not_read']:,} ({names}{more})")


def _write_table(listing: Listing, p: Params, dataset: str, table: Path, address: str) -> Counter[str | None]:
    """Write the table; return the number of kept records by split."""
    kept: Counter[str | None] = Counter()
    schema = ingested(listing.draw, listing.vocabulary)
    chunks = (pa.RecordBatch.from_pylist(rows, schema) for rows in _rows(listing, p, dataset, kept))
    fill(table, table.suffix, schema, chunks)
    if not kept:
        raise UserError(f"{address}: found no usable record: {_first_reason(listing)}")
    return kept


def _write_rejected(rejected: list[RejectedRow], not_read: list[Unread], path: Path) -> None:
    """Write the rejected rows, then the files that no record is about."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = row_writer(file)
        write(RejectedRow._fields)
        for row in sorted(rejected, key=lambda row: (row.file, row.row, row.record)):
            write(row)
        for unread in not_read:
            detail = f"{unread.files:,} files, such as {unread.example}" if unread.place.endswith("/") else ""
            write(RejectedRow(unread.place, 0, "", NOT_READ, detail))


def _check_linked(tree: Tree) -> None:
    """Check that all folders are read.

    Raises:
        UserError: there are links to folders that are not followed.
    """
    if links := tree.linked():
        more = f" and {len(links) - 5:,} more" if len(links) > 5 else ""
        raise UserError(
            f"{tree.address}: found links to folders, which are not followed: {printable(', '.join(links[:5]))}{more}; "
            f"expected: such links directly in {tree.address}, the folders themselves in their place, or "
            "ingest.rejected: accept"
        )


def _check_rejected(listing: Listing, kept: int, address: str) -> None:
    """Check that at most a tenth of the records is rejected, apart from what is published that way.

    Raises:
        UserError: more are. The message has the most frequent reasons.
    """
    too_many = listing.too_many_rejected(kept)
    if not too_many:
        return
    reasons = []
    for reason, count in listing.reasons().most_common():
        rows = [row for row in listing.rejected if row.reason == reason]
        [(detail, _)] = Counter(row.detail for row in rows).most_common(1)
        first = next(row for row in rows if row.detail == detail)
        where = f"{first.file}, row {first.row}" if first.row else first.file
        reasons.append(f"{reason} {count:,} (such as {where}: {detail[:200]})")
    raise UserError(
        f"{address}: rejected {too_many}, allowed: a tenth, or any number with ingest.rejected: accept. "
        f"Found {'; '.join(reasons)}"
    )


def _rows(
    listing: Listing, p: Params, dataset: str, kept: Counter[str | None]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the table in order, in chunks.

    Kept records are counted by split in `kept`; the others are rejected.
    """
    published: Counter[str] = Counter()
    no_votes = dict.fromkeys(listing.vocabulary, 0)
    shared = listing.shared()
    attributes: Counter[str] = Counter()
    bits: Counter[int] = Counter()
    flat = 0
    with bar(len(listing), desc=f"ingest {dataset}", unit="images") as shown:
        for chunk in read_images(listing, p):
            rows: list[dict[str, Any]] = []
            size = 0
            for record, image in chunk:
                shown.update()
                try:
                    if isinstance(image, Rejection):
                        raise image
                    if listing.face_boxes and record.box is not None:
                        box = face_box(record.box, image.width, image.height, listing.face_boxes)
                        record = record._replace(box=box)
                except Rejection as why:
                    listing.reject(record.file, record.row, record.name, why)
                    continue
                faces = {"box": record.box, "landmarks": record.landmarks}
                for name, points in faces.items():
                    if points is not None:
                        usable = inside(points, image.width, image.height)
                        published.update({name: 1, f"{name}_ignored": int(not usable)})
                        faces[name] = points if usable else None
                kept[record.split] += 1
                flat += image.flat
                if image.bits is not None:
                    bits[image.bits] += 1
                if record.place in shared and record.box is not None:
                    # Another face is no repeat of the image, but must not be in another split.
                    image = image._replace(pixels=face_fingerprint(image.pixels, record.box))
                    record = record._replace(group=record.group or record.place)
                attributes.update((record.attributes or {}).keys())
                # The vocabulary begins with the names that the record's votes are for.
                votes = record.votes and no_votes | dict(zip(no_votes, record.votes, strict=False))
                rows.append(_row(dataset, record, image) | faces | {"votes": votes})
                size += len(image.image or b"")
                if size > BATCH_BYTES:
                    yield rows
                    rows, size = [], 0
            yield rows
    if published:
        listing.notes["given"] = dict(sorted(published.items()))
    if attributes:
        listing.notes["attributes"] = dict(sorted(attributes.items()))
    if bits:
        listing.notes["bits_used"] = {str(number): count for number, count in sorted(bits.items())}
    if flat:
        listing.notes["kept_without_contrast"] = flat


def _row(dataset: str, record: Record, image: IngestedImage) -> dict[str, Any]:
    return {
        "id": f"{dataset}/{record.name}",
        "dataset": dataset,
        "split": record.split,
        "label": record.label,
        "group": record.group,
        "attributes": record.attributes,
        "source": f"{record.file}, row {record.row}" if record.row else record.file,
        **{name: getattr(image, name) for name in ("image", "width", "height", "pixels")},
    }


def _first_reason(listing: Listing) -> str:
    if not listing.rejected:
        return "there is no row"
    first, reasons = listing.rejected[0], in_words(dict(sorted(listing.reasons().items())))
    return f"rejected {reasons}; the first: {first.file}, row {first.row}: {first.detail}"
