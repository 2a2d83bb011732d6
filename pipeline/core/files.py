"""Files and folders that are whole or not there, so that a failure loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, one_line


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` if the block succeeds, so that a failure loses nothing.

    It is not forced to disk: where the machine itself goes down, `dvc status` sees a damaged file by its hash.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {_said(error)}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` if the block succeeds, so that a failure loses nothing."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if os.path.lexists(folder):
            folder.rename(earlier)
        try:
            temporary.rename(folder)
        except OSError:
            if os.path.lexists(earlier):
                earlier.rename(folder)
            raise
        _remove(earlier)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {_said(error)}") from error
    finally:
        _remove(temporary)


def _said(error: OSError) -> str:
    # Arrow puts its own words, and a temporary name, around the system's.
    return os.strerror(error.errno) if error.errno else one_line(error)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write metrics: keys in the order given, floats at full precision, no times or host names."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def fingerprint(words: Iterable[str], files: Iterable[Path]) -> str:
    """Return a hash of some words and of what is in some files, both in their order: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which DVC knows it by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
