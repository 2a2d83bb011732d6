"""Append-only journal of finished batches. A killed stage resumes after the last whole batch."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.core.locks import NO_LOCKS, hold, release

# Bytes in front of each batch: its length, and a checksum, as a power failure may leave the length alone.
_LENGTH, _CHECKSUM = 8, 4


@contextmanager
def journaled(
    path: Path, schema: pa.Schema, work: Callable[[int], Iterator[pa.RecordBatch]]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Yield an iterator over the batches of some work, each written to the journal first.

    Args:
        path: the journal's file. Its name must identify everything that decides the content of the batches. The file
            is removed if the block succeeds, so that a failure to write the result does not cost the work.
        schema: of the batches.
        work: returns the batches from a number on. The ones before it are read from the journal.

    Raises:
        UserError: another process does the same work, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            lock = hold(path)
        except BlockingIOError:
            raise UserError(f"{path}: another process is doing this work; wait for it, or end it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(f"{path}: cannot be locked: {error.strerror}") from None
            lock = None
        batches = _batches(path, file, schema, work)
        try:
            yield batches
            path.unlink(missing_ok=True)
        finally:
            batches.close()
            release(lock)


def _batches(
    path: Path, file: IO[bytes], schema: pa.Schema, work: Callable[[int], Iterator[pa.RecordBatch]]
) -> Generator[pa.RecordBatch]:
    file.seek(0)
    done = end = 0
    while data := _read(file):
        yield pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        done, end = done + 1, file.tell()
    file.truncate(end)  # drops an incomplete batch
    for batch in work(done):
        data = batch.serialize()
        try:
            head = len(data).to_bytes(_LENGTH) + zlib.crc32(data).to_bytes(_CHECKSUM)
            file.write(head + data)
            file.flush()
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        yield batch


def _read(file: IO[bytes]) -> bytes:
    """Return the next batch; empty if there is none, if it is incomplete or damaged."""
    length, checksum = int.from_bytes(file.read(_LENGTH)), int.from_bytes(file.read(_CHECKSUM))
    if length > os.fstat(file.fileno()).st_size:
        return b""
    data = file.read(length)
    return data if len(data) == length and zlib.crc32(data) == checksum else b""
