"""What a long stage has done so far, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from pipeline.errors import UserError

_LENGTH = 8  # bytes in front of each batch, which say how long it is


def journaled(
    path: Path, schema: pa.Schema, work: Callable[[int], Iterator[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of some work, each kept in a file as soon as it is there.

    Args:
        path: of the file, whose name must say all that decides what the batches hold. It is removed at the end.
        schema: of the batches.
        work: yields the batches from the one with the given number on; those before it are read from the file.

    Raises:
        UserError: another process is doing the same work, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: another process is doing this work; wait for it, or end it") from None
        file.seek(0)
        done = end = 0
        while data := _read(file):
            yield pa.ipc.read_record_batch(pa.py_buffer(data), schema)
            done, end = done + 1, file.tell()
        file.truncate(end)  # a batch that was cut short
        for batch in work(done):
            data = batch.serialize()
            try:
                file.write(len(data).to_bytes(_LENGTH) + data)
                file.flush()
            except OSError as error:
                raise UserError(f"{path}: cannot be written: {error.strerror}") from None
            yield batch
    path.unlink()


def _read(file: IO[bytes]) -> bytes:
    """Return the next batch, empty if there is none or only a part of it."""
    length = int.from_bytes(file.read(_LENGTH))
    data = file.read(length)
    return data if len(data) == length else b""
