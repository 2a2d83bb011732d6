"""Write and read the tables between stages; `tables.schema` defines their columns.

Tables whose columns are scanned are Parquet. Tables whose pixels are memory-mapped are uncompressed Arrow IPC. Rows are
sorted by `id`, and rows and bytes alone decide where a group ends, so the same input gives the same bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from pipeline.core.errors import UserError, not_made, one_line
from pipeline.core.files import replacing
from pipeline.core.parallel import chunks

# Rows of a Parquet row group (each group costs time for every column) and of an Arrow record batch.
GROUP_ROWS, BATCH_ROWS = 4096, 1024
# Bytes of encoded images in a group. Without a limit, large photographs would not fit into memory.
GROUP_BYTES = 32 * 2**20

# Columns of texts that hardly ever repeat: their dictionary would hold all of them.
_UNIQUE = ("id", "source", "pixels")


def read_parquet(path: Path, columns: list[str]) -> pa.Table:
    """Read columns of a table between stages.

    Raises:
        UserError: the file is missing or damaged, or lacks one of these columns.
    """
    with _reading(path, columns):
        return pq.ParquetFile(path).read(columns=columns).select(columns)


def stream_parquet(path: Path, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield columns of a table between stages, at most `rows` rows at a time. No batch has rows of two row groups.

    A row group bounds the bytes of images; batches across groups would have several of them in memory.

    Raises:
        UserError: the file is missing or damaged, or lacks one of these columns.
    """
    with _reading(path, columns), pq.ParquetFile(path) as file:
        file.schema_arrow.empty_table().select(columns)
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, row_groups=[group], columns=columns)
            pa.default_memory_pool().release_unused()


def take_parquet(path: Path, column: str, rows: Sequence[int]) -> Iterator[Any]:
    """Yield the values of a column in `rows`, counted from 0, in the order of `rows`.

    One row group is in memory at a time. Only groups that hold one of `rows` are read, each once if `rows` ascend.

    Raises:
        UserError: the file is missing or damaged, or lacks the column.
    """
    with _reading(path, [column]), pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = np.searchsorted(starts, rows, side="right") - 1
        last = -1
        for row, group in zip(rows, groups.tolist(), strict=True):
            if group != last:
                cells = file.read_row_group(group, columns=[column])[column]
            last = group
            yield cells[row - int(starts[group])].as_py()


def count_parquet(path: Path) -> int:
    """Return the number of rows of a table between stages.

    Raises:
        UserError: the file is missing or damaged.
    """
    with _reading(path, []):
        return pq.read_metadata(path).num_rows


@contextmanager
def _reading(path: Path, columns: list[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise not_made(path) from None
    except (OSError, KeyError, pa.ArrowException) as error:
        expected = f"a table with {', '.join(columns)}" if columns else "a table"
        raise UserError(f"{path}: not {expected}: {one_line(error)}") from None


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as `write_batches` writes batches."""
    write_batches(path, schema, batches_of(schema, rows))


def batches_of(schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Yield rows as batches of `BATCH_ROWS`."""
    return (pa.RecordBatch.from_pylist(some, schema) for some in chunks(rows, BATCH_ROWS))


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of any size one after the other: `.parquet` by `GROUP_ROWS`, Arrow IPC by `BATCH_ROWS`."""
    with replacing(path) as temporary:
        fill(temporary, path.suffix, schema, batches)


def fill(temporary: Path, suffix: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches as `write_batches` does, to a temporary path of `replacing` for a name with this suffix."""
    parquet = suffix == ".parquet"
    if parquet:
        # Encoded images do not compress, and nobody needs the minimum and maximum of their bytes.
        others = [leaf for leaf in _leaves(schema) if leaf != "image"]
        compression = dict.fromkeys(others, "lz4") | {"image": "none"}
        repeating = [leaf for leaf in others if leaf not in _UNIQUE]
        writer: Any = pq.ParquetWriter(
            temporary, schema, compression=compression, use_dictionary=repeating, write_statistics=others
        )
    else:
        writer = pa.ipc.new_file(str(temporary), schema)
    with writer:
        for group in _regrouped(batches, GROUP_ROWS if parquet else BATCH_ROWS):
            writer.write_table(group if parquet else group.combine_chunks())
            del group  # before the next one is put together
            pa.default_memory_pool().release_unused()


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the names of the columns in Parquet. Structs have their fields, lists elements, maps keys and values."""
    leaves = []
    for field in schema:
        if pa.types.is_struct(field.type):
            leaves += [f"{field.name}.{inner.name}" for inner in field.type]
        elif pa.types.is_map(field.type):
            leaves += [f"{field.name}.key_value.{part}" for part in ("key", "value")]
        else:
            is_list = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
            leaves.append(f"{field.name}.list.element" if is_list else field.name)
    return leaves


def _regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the rows of batches in tables of `rows` rows, or of fewer once their images reach `GROUP_BYTES`."""
    waiting: list[pa.RecordBatch] = []
    room, space = rows, GROUP_BYTES
    for batch in batches:
        while len(batch):
            count = min(len(batch), room)
            if "image" in batch.schema.names:
                used = np.cumsum(pc.binary_length(batch["image"]).to_numpy())
                count = min(count, int(np.searchsorted(used, space)) + 1)
                space -= int(used[count - 1])
            waiting.append(batch.slice(0, count))
            batch, room = batch.slice(count), room - count
            if room == 0 or space <= 0:
                yield pa.Table.from_batches(waiting)
                waiting, room, space = [], rows, GROUP_BYTES
    if waiting:
        yield pa.Table.from_batches(waiting)


class Faces:
    """Memory-mapped pixels of an Arrow table with a `face` column. A face is read from disk when it is used.

    Args:
        path: `data/aligned/<dataset>.arrow` or `data/synthetic.arrow`.

    Attributes:
        table: the table without `face`, in file order.
        shape: (height, width, channels) of a face.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._mapped)))
            meta = reader.schema.metadata
            self.shape = (int(meta[b"height"]), int(meta[b"width"]), int(meta[b"channels"]))
        except FileNotFoundError:
            raise not_made(path) from None
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{path}: not a table of faces: {one_line(error)}") from None
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._batches = [_pixels(batch.column("face"), self.shape) for batch in batches]
        self.table = pa.Table.from_batches(batches, reader.schema).drop_columns(["face"])

    def __len__(self) -> int:
        return self.table.num_rows

    def ids(self) -> list[str]:
        """Return the ids in row order."""
        return self.table["id"].to_pylist()

    def batches(self) -> Iterator[np.ndarray]:
        """Yield the faces of each record batch, read-only uint8 [n, H, W, C]. What was read leaves the memory."""
        for batch in self._batches:
            yield batch
            self.release()

    def release(self) -> None:
        """Take what was read out of the memory of this process. It can be read again."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return face `row` as a read-only view of uint8, H x W x C."""
        return self._batches[row // BATCH_ROWS][row % BATCH_ROWS]


def _pixels(column: pa.FixedSizeBinaryArray, shape: tuple[int, int, int]) -> np.ndarray:
    size = shape[0] * shape[1] * shape[2]
    flat = np.frombuffer(column.buffers()[1], np.uint8, count=len(column) * size, offset=column.offset * size)
    return flat.reshape(len(column), *shape)
