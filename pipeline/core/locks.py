"""Locks on files. A lock ends with the process that holds it, also if that process is killed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Errors of a file system without locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}
# Open files whose locks this process holds.
_held: set[int] = set()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the block runs; see `hold`."""
    file = hold(path)
    try:
        yield
    finally:
        release(file)


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Let nobody take the exclusive lock of a file while the block reads it, if the file can be locked."""
    lock = None
    with suppress(OSError):
        lock = hold(path, shared=True)
    try:
        yield
    finally:
        release(lock)


def hold(path: Path, shared: bool = False, wait: bool = False) -> int:
    """Take the lock of an existing file. Return the open file, for `release`.

    Args:
        path: the file.
        shared: whether other processes may hold the lock at the same time, if theirs are shared as well.
        wait: wait for a process that holds the lock.

    Raises:
        BlockingIOError: another process holds the lock, and is not waited for.
        OSError: the file cannot be opened, was removed meanwhile, or its file system has no locks.
    """
    try:
        file = os.open(path, os.O_RDWR)  # an exclusive lock over NFS needs it
    except PermissionError:
        file = os.open(path, os.O_RDONLY)
    _held.add(file)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(file), os.stat(path)):
            raise FileNotFoundError(f"{path} was replaced")
    except BaseException:
        release(file)
        raise
    return file


def release(file: int | None) -> None:
    """Release a lock, if there is one."""
    if file in _held:
        _held.remove(file)
        os.close(file)


def _release_all() -> None:
    for file in list(_held):
        with suppress(OSError):  # a file that is closed already holds no lock
            release(file)


# A forked process shares the open files of its parent. It would hold the locks when the parent has ended.
os.register_at_fork(after_in_child=_release_all)
