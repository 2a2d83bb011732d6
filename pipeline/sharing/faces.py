"""Write the labelled faces of a data set as Parquet files that the Hub's library and `fer ingest` read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_of
from pipeline.core.progress import track
from pipeline.inference.samples import LabelledFaces, Samples
from pipeline.sharing.columns import IMAGE, Features, features, schema
from pipeline.tables.columns import places
from pipeline.tables.paths import INGESTED, LABELS
from pipeline.tables.store import read_parquet
from pipeline.tables.vocabulary import SPLITS

# The Hub's name of each split.
HUB_SPLITS = dict(zip(SPLITS, ("train", "validation", "test"), strict=True))
# Rows of a group. The Hub's viewer reads whole groups.
_ROWS = 1000


@dataclass(frozen=True)
class SharedSplit:
    """A Parquet file with the faces of a split.

    Attributes:
        split: its name here.
        file: path in the folder.
        classes: number of faces of each class.
        size: bytes of the rows in memory.
        file_size: bytes of the file.
        sha256: of the file.
    """

    split: str
    file: str
    classes: dict[str, int]
    size: int
    file_size: int
    sha256: str

    @property
    def name(self) -> str:
        """Return the Hub's name of the split."""
        return HUB_SPLITS[self.split]

    @property
    def rows(self) -> int:
        """Return the number of faces."""
        return sum(self.classes.values())


@dataclass(frozen=True)
class SharedFaces:
    """The labelled faces of a data set in a folder.

    Attributes:
        splits: those that have faces.
        columns: of their files.
        shape: height, width and channels of a face.
    """

    splits: list[SharedSplit]
    columns: Features
    shape: tuple[int, int, int]


def write(folder: Path, dataset: str, faces: LabelledFaces) -> SharedFaces:
    """Write a Parquet file for each split, `data/train.parquet` and so on: PNG files with labels, votes and groups.

    Args:
        folder: where to.
        dataset: name of the data set.
        faces: its faces.

    Raises:
        UserError: a table of the run is absent or was made with other parameters, or it has no such faces.
    """
    samples = {split: found for split in SPLITS if len(found := faces.split(split))}
    if not samples:
        raise UserError(
            f"{LABELS}: found no faces of {dataset}, expected: a data set in `datasets`; `dvc repro`"
        )
    ingested = read_parquet(INGESTED / f"{dataset}.parquet", ["id", "votes", "group"])
    rows = {split: ingested.take(_places(found, ingested, dataset)) for split, found in samples.items()}
    votes = any(table["votes"].null_count < len(table) for table in rows.values())
    group = any(table["group"].null_count < len(table) for table in rows.values())
    vocabulary = [field.name for field in ingested.schema.field("votes").type] if votes else []
    columns = features(faces.classes, vocabulary, group)

    (folder / "data").mkdir()
    written = []
    for split, found in samples.items():
        file, size = f"data/{HUB_SPLITS[split]}.parquet", 0
        # PNG files do not shrink, and texts hardly repeat.
        writer = pq.ParquetWriter(folder / file, schema(columns), use_dictionary=False, compression="none")
        with writer:
            for batch in _batches(found, rows[split], columns, f"share: {split}"):
                writer.write_batch(batch)
                size += batch.nbytes
        counts = np.bincount(found.labels.numpy(), minlength=len(faces.classes)).tolist()
        written.append(
            SharedSplit(
                split,
                file,
                dict(zip(faces.classes, counts, strict=True)),
                size,
                (folder / file).stat().st_size,
                sha256_of(folder / file),
            )
        )
    return SharedFaces(written, columns, next(iter(samples.values())).shape)


def _places(samples: Samples, ingested: pa.Table, dataset: str) -> np.ndarray:
    """Return the row of each sample in the ingested table."""
    found = places(samples.ids, ingested["id"])
    if (found < 0).any():
        unknown = samples.ids[int(found.argmin())].as_py()
        raise UserError(f"{LABELS}: {unknown!r} is not in {INGESTED / dataset}.parquet: run `dvc repro`")
    return found


def _batches(samples: Samples, ingested: pa.Table, columns: Features, desc: str) -> Iterator[pa.RecordBatch]:
    for start in track(range(0, len(samples), _ROWS), desc=desc, unit="batches"):
        own = slice(start, start + _ROWS)
        images = [{"bytes": png(face), "path": None} for face in samples.gather(np.arange(len(samples))[own])]
        values: dict[str, Any] = {
            "image": pa.array(images, IMAGE),
            "label": samples.labels[own].numpy(),
            "votes": ingested["votes"].slice(start, _ROWS).combine_chunks(),
            "group": ingested["group"].slice(start, _ROWS).combine_chunks(),
            "id": samples.ids[own],
        }
        wanted = schema(columns)
        yield pa.RecordBatch.from_arrays(
            [pa.array(values[name]).cast(wanted.field(name).type) for name in columns], schema=wanted
        )


def png(face: np.ndarray) -> bytes:
    """Return a face, uint8 [H, W, C] in grey or RGB, as a PNG file."""
    return cv2.imencode(".png", face[..., ::-1])[1].tobytes()
