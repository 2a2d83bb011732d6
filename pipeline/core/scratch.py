"""Temporary folders that do not outlive their process for long.

Each is removed when its block ends. If the process is killed, another one removes it later: the first that makes a
temporary folder beside it. A folder is in use as long as a process holds the lock of the file `LOCK` in it. Process ids
would not do: they are used again, and machines may share the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pipeline.core.locks import NO_LOCKS, hold, locked, release

SUFFIX, LOCK = ".part", ".lock"


def choose_temporary_folder() -> None:
    """Set the folder for temporary files to the one that Python would choose, without its trial.

    Python tries a folder with a file that has no suffix of its own. A kill would leave this file behind for ever. torch
    would make a folder there for its compiler, which nothing here uses, and never remove it.
    """
    for name in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp"):
        if name and os.path.isdir(name) and os.access(name, os.W_OK | os.X_OK):
            tempfile.tempdir = os.path.abspath(name)
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.tempdir)
            return


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder in the system's folder for temporary files (TMPDIR)."""
    with folder_in(Path(tempfile.gettempdir()), "fer-") as outer:
        inner = outer / "files"
        inner.mkdir()
        yield inner


@contextmanager
def folder_in(parent: Path, prefix: str, rescue: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield a new folder that holds nothing but `LOCK`.

    Args:
        parent: where the folder is made.
        prefix: of its name.
        rescue: called with the folder before it is removed, also if a killed process has left it behind.

    Raises:
        OSError: the folder cannot be made.
    """
    _remove_abandoned(parent.resolve(), prefix, rescue)
    path, lock = _make(parent, prefix)
    try:
        yield path
    finally:
        with suppress(OSError):
            _remove(path, rescue)
        release(lock)


def _make(parent: Path, prefix: str) -> tuple[Path, int | None]:
    while True:
        path = Path(tempfile.mkdtemp(SUFFIX, prefix, parent))
        try:
            (path / LOCK).touch()
            return path, hold(path / LOCK)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process took the new folder for an abandoned one
        except OSError as error:
            if error.errno not in NO_LOCKS:
                path.rmdir()
                raise
            return path, None  # nobody can take it for an abandoned one


@cache  # once per process: a folder of drawn images has many thousands
def _remove_abandoned(parent: Path, prefix: str, rescue: Callable[[Path], object] | None) -> None:
    for path in parent.glob(f"{prefix}????????{SUFFIX}"):
        with suppress(OSError):  # somebody's that is in use, or another user's
            if not (path / LOCK).exists():
                path.rmdir()  # its process was killed before it made the lock
                continue
            with locked(path / LOCK):
                _remove(path, rescue)


def _remove(folder: Path, rescue: Callable[[Path], object] | None) -> None:
    if rescue:
        rescue(folder)
    for path in sorted(folder.iterdir()):
        if path.name == LOCK:
            continue  # the last to go: without it nobody could tell whether the folder is in use
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / LOCK).unlink()
    folder.rmdir()
