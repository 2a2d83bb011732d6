"""Parquet files that strangers made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from io import SEEK_END
from itertools import repeat
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError, one_line
from pipeline.intake.archive import check_expansion
from pipeline.intake.tree import Tree

# Errors of reading a damaged file. Text that is no UTF-8 is noticed only when it becomes a Python object.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
_ROWS = 4096  # that are in memory at a time
_BUFFER = 2**20  # bytes that are read at a time: without a buffer, all images of a row group would be
_POINTER = b"version https://git-lfs"


def open_parquet(tree: Tree, place: str) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        UserError: it is none, is damaged, names a column twice, or claims to hold absurdly much.
    """
    path = f"{tree.address}/{place}"
    opened = tree.open(place)
    try:
        if opened.read(len(_POINTER)) == _POINTER:
            raise UserError(f"{path}: found a pointer of Git LFS; `git lfs pull` fetches the file")
        packed = opened.seek(0, SEEK_END)
        file = pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
        columns = Counter(file.schema_arrow.names)
    except BROKEN as error:
        raise _unreadable(path, error) from None
    if twice := [name for name, count in columns.items() if count > 1]:
        raise UserError(f"{path}: found the column {', '.join(twice)[:200]} more than once, expected: once")
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    check_expansion(path, sum(group.total_byte_size for group in groups), packed)
    if file.metadata.num_rows > packed:
        raise UserError.of(path, f"{file.metadata.num_rows:,} rows", f"one for each of its {packed:,} bytes")
    return file


def rows(file: pq.ParquetFile, path: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row.

    Args:
        file: the Parquet file.
        path: its path, for messages.
        columns: the columns to read, in the order of the values; None: all, in the file's order.

    Raises:
        UserError: the file is damaged.
    """
    if columns is not None and not columns:
        yield from repeat((), file.metadata.num_rows)
        return
    try:
        for batch in file.iter_batches(_ROWS, columns=columns and list(columns), use_threads=False):
            arrays = batch.columns if columns is None else map(batch.column, columns)
            yield from zip(*(array.to_pylist() for array in arrays), strict=True)
    except BROKEN as error:
        raise _unreadable(path, error) from None


def text(value: Any) -> str:
    """Return a value as text: "" for a missing one, and `3` for 3.0, as which pandas writes it if one is missing."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read as Parquet: {one_line(error)}")
