"""Count the files, rows and faces in `data/`, and their bytes. No image is opened."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.core.errors import UserError, no_raw_data, not_made, one_line
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, METRICS, PREDICTIONS, RAW, SYNTHETIC
from pipeline.tables.store import Faces, read_parquet
from pipeline.tables.vocabulary import CLASSES, NOT_READ, SPLITS

Counts = dict[str, Any]  # by the title of the column that shows them


class RawData(NamedTuple):
    """The content of `data/raw/<dataset>`.

    Attributes:
        kind: file or folder, and where it is linked to.
        files: number of files; 1 for an archive.
        size: of all files, in bytes.
    """

    kind: str
    files: int
    size: int


def raw_data(dataset: str) -> RawData:
    """Return the content of `data/raw/<dataset>`.

    Raises:
        UserError: it does not exist or cannot be read.
    """
    path = RAW / dataset
    link = f", linked to {os.readlink(path)}" if path.is_symlink() else ""
    try:
        if path.is_file():
            return RawData(f"file{link}", 1, path.stat().st_size)
        sizes = list(_sizes(path))
    except FileNotFoundError:
        raise (not_made(path) if dataset == "sample" and not link else no_raw_data(path)) from None
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return RawData(f"folder{link}", len(sizes), sum(sizes))


def _sizes(folder: str | Path, above: tuple[str, ...] = ()) -> Iterator[int]:
    """Yield the bytes of each file below a folder, also through links, without hidden files.

    Args:
        folder: the folder.
        above: the folders around it. A link back to one of them is left out.
    """
    here = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in here:
                    yield from _sizes(entry.path, here)
            else:
                # A link may lead to an image in DVC's cache, or to nothing.
                yield entry.stat(follow_symlinks=os.path.exists(entry.path)).st_size


def ingested_rows(dataset: str) -> Counts:
    """Return the number of rows of `data/ingested/<dataset>.parquet` by split, and of rejected rows.

    Raises:
        UserError: it does not exist or is no such table.
    """
    path = INGESTED / f"{dataset}.parquet"
    splits = Counter(read_parquet(path, ["split"])["split"].to_pylist())
    return {
        "rows": splits.total(),
        **{split: splits[split] for split in SPLITS},
        "no split": splits[None],
        "rejected": sum(rejected.values()) if (rejected := _rejected(dataset)) is not None else None,
        "size": path.stat().st_size,
    }


def rejected_records(dataset: str) -> list[Counts]:
    """Return the number of records of a data set that `ingest` rejected, by reason, the most frequent first.

    Raises:
        UserError: the list of rejected records is damaged.
    """
    counts = _rejected(dataset) or Counter()
    return [{"data set": dataset, "rejected because": why, "records": n} for why, n in counts.most_common()]


def _rejected(dataset: str) -> Counter[str] | None:
    """Return the number of rejected records by reason; None if there is no list of them."""
    path = INGESTED / f"{dataset}.rejected.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reasons = [row.get("reason") or "" for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a list of rejected rows: {one_line(error)}") from None
    return Counter(reason for reason in reasons if reason != NOT_READ)


def aligned_faces(dataset: str) -> Counts:
    """Return the number of faces in `data/aligned/<dataset>.arrow` by status, and their size.

    Raises:
        UserError: it does not exist or is no such table.
    """
    path = ALIGNED / f"{dataset}.arrow"
    faces = Faces(path)
    status = _counted(path, faces.table, "status")
    return {
        "images": len(faces),
        **{name: status[name] for name in ("found", "whole", "missing")},
        "found rate": status["found"] / len(faces) if len(faces) else None,
        "face": " x ".join(map(str, faces.shape)),
        "size": path.stat().st_size,
    }


def labelled_rows() -> list[Counts]:
    """Return the number of rows of `data/labels.parquet` by class and split.

    Raises:
        UserError: it does not exist or is no such table.
    """
    table = read_parquet(LABELS, ["split", "label"])
    counts = Counter(zip(table["label"].to_pylist(), table["split"].to_pylist(), strict=True))
    rows = [
        {"class": name, **{split: counts[name, split] for split in SPLITS}}
        for name in _ordered({name for name, _ in counts})
    ]
    return [*rows, {"class": "all", **{split: sum(row[split] for row in rows) for split in SPLITS}}]


def dropped_images() -> list[Counts]:
    """Return the number of images that `label` left out, by reason, as `metrics/label.json` says.

    Raises:
        UserError: the file does not exist or is damaged.
    """
    dropped = _label_metrics()["dropped"]
    return [{"left out because": why, "images": count} for why, count in dropped.items()]


def leaks() -> list[Counts]:
    """Return the number of images of one split that another holds too, as `metrics/label.json` says.

    The last two columns count samples, the first three also the images that `label` dropped.

    Raises:
        UserError: the file does not exist or is damaged.
    """
    metrics = _label_metrics()
    kinds = {"same image": "duplicates", "same or nearly": "near_duplicates", "same person": "groups"}
    kept = {"kept: same or nearly": "near_duplicates", "kept: same person": "groups"}
    return [
        {
            "leak": pair.replace("_", " "),
            **{title: metrics[key].get(pair) for title, key in kinds.items()},
            **{title: metrics["leaks"].get(key, {}).get(pair) for title, key in kept.items()},
        }
        for pair in metrics["near_duplicates"]
        if pair != "within"
    ]


def _label_metrics() -> dict[str, Any]:
    path = METRICS / "label.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        keys = ("dropped", "duplicates", "near_duplicates", "groups", "leaks")
        return {key: dict(metrics[key]) for key in keys}
    except FileNotFoundError:
        raise not_made(path) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the metrics of `label`: {one_line(error)}") from None


def synthetic_faces() -> Counts:
    """Return the number of faces in `data/synthetic.arrow` by class.

    Raises:
        UserError: it does not exist or is no such table.
    """
    faces = Faces(SYNTHETIC)
    counts = _counted(SYNTHETIC, faces.table, "label")
    return {
        "faces": len(faces),
        **{name: counts[name] for name in _ordered(counts)},
        "face": " x ".join(map(str, faces.shape)),
        "size": SYNTHETIC.stat().st_size,
    }


def predicted_rows() -> Counts:
    """Return the number of rows of `data/predictions.parquet` by split.

    Raises:
        UserError: it does not exist or is no such table.
    """
    splits = Counter(read_parquet(PREDICTIONS, ["split"])["split"].to_pylist())
    return {
        "rows": splits.total(),
        **{split: splits[split] for split in SPLITS},
        "size": PREDICTIONS.stat().st_size,
    }


def _ordered(names: Iterable[str]) -> list[str]:
    """Return class names: those of `CLASSES` in their order, then the others, sorted."""
    return sorted(names, key=lambda name: (CLASSES.index(name) if name in CLASSES else len(CLASSES), name))


def _counted(path: Path, table: pa.Table, column: str) -> Counter[str]:
    if column not in table.column_names:
        raise UserError(f"{path}: not a table of faces: it has no column {column}")
    return Counter(table[column].to_pylist())
