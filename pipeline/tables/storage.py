"""Read and write files in a folder on this machine or in an object store at an `s3://` address.

A file from a store is copied to this machine's disk first. A file for a store is copied when it is complete, so the
store never holds a part of a table. AWS's own environment variables set credentials, region and endpoint
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs

from pipeline.core.errors import UserError, one_line
from pipeline.core.scratch import temporary_folder

# Keeps every file system open until the program ends. The process would abort if one of Arrow's own threads dropped the
# last reference while the S3 library shuts down.
_opened: list[pafs.FileSystem] = []


def is_remote(address: str | Path) -> bool:
    """Return whether an address is that of an object store."""
    return str(address).startswith("s3://")


def open_store(address: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of an `s3://` address and the path in it, without a final slash.

    Raises:
        UserError: it is no such address, or names no folder in the bucket.
    """
    try:
        system, path = pafs.FileSystem.from_uri(address)
    except (OSError, ValueError) as error:
        raise UserError(f"{address}: not an address of an object store: {one_line(error)}") from None
    if not path.strip("/"):
        raise UserError(f"{address}: not an address of an object store: expected s3://bucket/folder")
    _opened.append(system)
    return system, path.rstrip("/")


@contextmanager
def local_copy(folder: str | Path, name: str) -> Iterator[Path]:
    """Yield a local path of the file `name`: in a folder the file itself, from a store a temporary copy.

    Raises:
        UserError: the store has no such file, or does not answer.
    """
    if not is_remote(folder):
        yield Path(folder) / name
        return
    system, path = open_store(str(folder))
    with temporary_folder() as scratch:
        try:
            pafs.copy_files(f"{path}/{name}", f"{scratch}/{name}", source_filesystem=system)
        except OSError as error:
            raise UserError(f"{folder}/{name}: cannot be read: {one_line(error)}") from None
        yield scratch / name


@contextmanager
def upload(folder: str | Path) -> Iterator[Path]:
    """Yield a local folder to write to: the folder itself, or a temporary one whose files go to the store at the end.

    Raises:
        UserError: the store refuses a file.
    """
    if not is_remote(folder):
        yield Path(folder)
        return
    system, path = open_store(str(folder))
    with temporary_folder() as scratch:
        yield scratch
        try:
            for file in sorted(scratch.iterdir()):
                pafs.copy_files(str(file), f"{path}/{file.name}", destination_filesystem=system)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {one_line(error)}") from None
