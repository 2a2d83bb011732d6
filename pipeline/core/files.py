"""Write files and folders completely or not at all, and hash them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, one_line
from pipeline.core.scratch import LOCK, folder_in

# Of the temporary folders in which new files grow, and the name of an earlier folder in them.
PREFIX, EARLIER = ".fer-", ".earlier"
# Arrow puts its own words, and sometimes the name of the file, before the system's message.
_ARROW = re.compile(r"(?:.*'(?P<file>[^']+)')?.*Detail: \[errno \d+\] (?P<reason>.*)", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` if the block succeeds. A failure keeps the earlier file.

    The file is not flushed to disk. If the machine crashes, `dvc status` detects a damaged file by its hash.

    Raises:
        UserError: the file cannot be written, or the block fails at another file, which the message names.
    """
    with _beside(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def rewriting(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose content becomes that of a user's file. Otherwise as `replacing`.

    A symbolic link stays: the file that it leads to changes. The file keeps its mode.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with replacing(target) as temporary:
        yield temporary
        shutil.copymode(target, temporary)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` if the block succeeds. A failure keeps the earlier folder.

    Raises:
        UserError: the folder cannot be written, or the block fails at another file, which the message names.
    """
    with _beside(folder) as temporary:
        temporary.mkdir()
        yield temporary
        if os.path.lexists(folder):
            folder.rename(temporary.with_name(EARLIER))
        temporary.rename(folder)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a path with the name of `path` in a temporary folder beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_in(path.parent, PREFIX, _put_back) as folder:
            yield folder / path.name
    except OSError as error:
        raise file_error(error, path) from error


def _put_back(temporary: Path) -> None:
    """Put an earlier folder back whose place the new one, in the same temporary folder, has not taken."""
    earlier = temporary / EARLIER
    if os.path.lexists(earlier):
        for name in {path.name for path in temporary.iterdir()} - {LOCK, EARLIER}:
            if not os.path.lexists(temporary.parent / name):
                earlier.rename(temporary.parent / name)


def file_error(error: OSError, output: Path | None = None) -> UserError:
    """Return an error of the operating system as one line that names the file that failed.

    The system names no file if a write fails. Then it is the output, or on a full disk the folder with less room: the
    output's or that of temporary files.

    Args:
        error: of the system or of Arrow.
        output: the file or folder that was being written; None if nothing was. Its parents, and the temporary name that
            it has until it is complete, count as the output.
    """
    reason = error.strerror or str(error)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    if from_arrow := _ARROW.fullmatch(reason):
        name, reason = from_arrow["file"], from_arrow["reason"]
    failed = Path(name) if name else None
    if failed is None and error.errno == errno.ENOSPC:
        folders = output.parent if output else Path(), Path(tempfile.gettempdir())
        failed = min(folders, key=lambda folder: shutil.disk_usage(folder).free)
    temporary = failed is not None and any(part.startswith(PREFIX) for part in failed.parts)
    if output and (temporary or failed in (None, output, *output.parents)):
        return UserError(f"{output}: cannot be written: {one_line(reason)}")
    return UserError(f"{failed}: {one_line(reason)}" if failed else one_line(reason))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write metrics as JSON, with keys in the given order and floats at full precision."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def fingerprint(words: Iterable[str], files: Iterable[Path]) -> str:
    """Return a hash of words and of the content of files, in the given order: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, as in dvc.lock."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
