"""Parquet files whose rows hold encoded images, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from pipeline.core.errors import one_line
from pipeline.intake.cell_table import COLUMNS
from pipeline.intake.guards import Rejection, check_size
from pipeline.intake.parquet import BROKEN, open_parquet
from pipeline.intake.tree import Tree
from pipeline.tables.vocabulary import spelled

_ROWS = 64  # with images that are in memory at a time


def image_column(schema: pa.Schema) -> str | None:
    """Return the column with encoded images: bytes, or a struct with `bytes`. None if no column is, or any may be."""
    names = [name for name in schema.names if _is_image(schema.field(name).type)]
    usual = COLUMNS["image"].split()
    known = sorted((name for name in names if spelled(name) in usual), key=lambda n: usual.index(spelled(n)))
    return known[0] if known else names[0] if len(names) == 1 else None


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes that the whole numbers of a column stand for, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = {name: f.get("names") for name, f in features.items() if isinstance(f, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in named.items()
        if isinstance(names, list) and names and all(isinstance(text, str) for text in names)
    }


class ShardReader:
    """Reads the image at `<place of the shard>|<row, from 0>`. Rows in rising order are read once.

    Each process holds `_ROWS` rows of its current row group, and the pages that they lie in.

    Args:
        tree: the data set's files.
        columns: the column with images of each shard.
    """

    def __init__(self, tree: Tree, columns: dict[str, str]) -> None:
        self._tree, self._columns = tree, columns
        self._at: _Position | None = None
        self._damage: dict[tuple[str, int], str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_at": None}

    def __call__(self, place: str) -> bytes:
        """See `Tree.read`."""
        shard, _, number = place.rpartition("|")
        row = int(number)
        at = self._at
        # Processes that share an open file share its position.
        if not at or (at.process, at.shard) != (os.getpid(), shard) or not at.first <= row < at.end:
            at = self._group_of(shard, row)
        damage = (shard, at.end)
        if damage in self._damage:
            raise Rejection("unreadable_image", self._damage[damage])
        try:
            while row >= at.first + len(at.images):
                first = at.first + len(at.images)
                at = at._replace(first=first, images=next(at.batches))
        except (*BROKEN, StopIteration) as error:
            self._damage[damage] = (
                f"{shard}, rows to {at.end}: {one_line(error) or 'fewer rows than claimed'}"
            )
            raise Rejection("unreadable_image", self._damage[damage]) from None
        finally:
            self._at = at
        image = at.images[row - at.first].as_py()
        if isinstance(image, dict):
            image = image["bytes"]
        if not image:
            raise Rejection("missing_image", f"{shard}, row {row + 1}: found no bytes of an image")
        check_size(len(image))
        return image

    def _group_of(self, shard: str, row: int) -> _Position:
        """Return the start of the row group that holds a row."""
        file = open_parquet(self._tree, shard)
        column = self._columns[shard]
        if pat.is_struct(file.schema_arrow.field(column).type):
            column += ".bytes"
        first = end = 0
        for group in range(file.num_row_groups):
            first, end = end, end + file.metadata.row_group(group).num_rows
            if row < end:
                batches = file.iter_batches(_ROWS, row_groups=[group], columns=[column], use_threads=False)
                images = (batch.column(0) for batch in batches)
                return _Position(os.getpid(), shard, first, end, images, ())
        raise Rejection("missing_image", f"{shard}: found {end:,} rows, row {row + 1} is not there")


class _Position(NamedTuple):
    """Where a reader is in a shard.

    Attributes:
        process: id of the process that has opened the shard.
        shard: its place.
        first: number of the first row in `images`, from 0.
        end: number of the first row after the row group.
        batches: yields the images that follow.
        images: of the current rows.
    """

    process: int
    shard: str
    first: int
    end: int
    batches: Iterator[pa.Array]
    images: Sequence[Any] | pa.Array


def _is_image(kind: pa.DataType) -> bool:
    if pat.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_binary_view(kind)
