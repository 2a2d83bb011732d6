"""Where tables come from and go to: folders of this machine, or an object store at an `s3://` address.

What lies in an object store is copied to this machine's disk before it is used, and what is written there is copied
when it is whole: a table is there complete or not at all. Credentials, region and endpoint are those of AWS's own
environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs

from pipeline.core.errors import UserError, one_line

# Every file system that was opened, until the program ends: if one of Arrow's own threads drops the last reference to
# it while the S3 library is being shut down, the process is aborted, though its work is done.
_opened: list[pafs.FileSystem] = []


def is_remote(address: str | Path) -> bool:
    """Return whether an address is one of an object store."""
    return str(address).startswith("s3://")


def open_store(address: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of an `s3://` address and the path in it, without a slash at the end.

    Raises:
        UserError: it is no such address.
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
def taken(folder: str | Path, name: str) -> Iterator[Path]:
    """Yield the path of the file `name` in a folder or a store; a copy that is removed, if it is in a store.

    Raises:
        UserError: the store has no such file, or does not answer.
    """
    if not is_remote(folder):
        yield Path(folder) / name
        return
    system, path = open_store(str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            pafs.copy_files(f"{path}/{name}", f"{scratch}/{name}", source_filesystem=system)
        except OSError as error:
            raise UserError(f"{folder}/{name}: cannot be read: {one_line(error)}") from None
        yield Path(scratch) / name


@contextmanager
def given(folder: str | Path) -> Iterator[Path]:
    """Yield a folder to write to; what it holds in the end is copied, if it stands for one in a store.

    Raises:
        UserError: the store does not take it.
    """
    if not is_remote(folder):
        yield Path(folder)
        return
    system, path = open_store(str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
        try:
            for file in sorted(Path(scratch).iterdir()):
                pafs.copy_files(str(file), f"{path}/{file.name}", destination_filesystem=system)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {one_line(error)}") from None
