"""A folder of this machine as a tree."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.core.errors import UserError
from pipeline.intake.listing import Refused
from pipeline.intake.tree import MOST_BYTES, too_large

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe must not block
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK

# Bytes of a picture that is read without asking for its size first; to ask takes as long as to read it.
_SMALL = 64 * 1024


class Folder:
    """A folder on this machine, which may be a symbolic link itself and hold links to other folders at its top."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._root = os.path.realpath(path)
        # Folders linked at the top are the user's own doing, and part of the tree.
        with os.scandir(self._root) as entries:
            links = [e.path for e in entries if e.is_symlink() and _is_folder(e)]
        self._roots = [self._root, *map(os.path.realpath, links)]
        self._inside: set[str] = set()  # folders that were looked at

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        return sorted(entry.name + "/" * _is_folder(entry) for entry in self._scan(under))

    def has(self, place: str) -> bool:
        """See `Tree`."""
        return os.path.isfile(self._path(place))

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`. Links to folders are followed at the top alone."""
        folders = [under]
        while folders:
            folder = folders.pop()
            before = f"{folder}/" if folder else ""
            for entry in self._scan(folder):
                place = before + entry.name
                if entry.is_dir(follow_symlinks=False) or (not folder and _is_folder(entry)):
                    folders.append(place)
                else:
                    yield place

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield what lies in a folder but hidden things; nothing if it is no folder."""
        try:
            with os.scandir(self._path(folder)) as found:
                for entry in found:
                    if not entry.name.startswith("."):
                        yield entry
        except (NotADirectoryError, FileNotFoundError):
            return
        except OSError as error:
            where = f"{self.address}/{folder}" if folder else self.address
            raise UserError(f"{where[:200]}: cannot be read: {error.strerror}") from None

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        where = f"{self.address}/{place}"
        try:
            file = open(self._path(place), "rb", opener=lambda path, flags: os.open(path, flags | _NONBLOCK))  # noqa: SIM115
        except OSError as error:
            raise UserError(f"{where}: cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise UserError(f"{where}: found a pipe or a device, expected: a file")
        return file

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        folder, _, _ = place.rpartition("/")
        try:
            if folder not in self._inside:
                self._check(self._path(folder), place)
                self._inside.add(folder)
            try:
                file = os.open(self._path(place), _FLAGS)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                target = os.path.realpath(self._path(place), strict=True)  # a link
                self._check(target, place)
                file = os.open(target, _FLAGS)
            try:
                data = os.read(file, _SMALL)
                if 0 < len(data) < _SMALL:
                    return data
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise Refused("unreadable_image", f"{self.address}/{place} is not a file")
                if status.st_size > MOST_BYTES:
                    raise too_large(status.st_size)
                return data + os.read(file, status.st_size - len(data))
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError):
            raise Refused("missing_image", f"{self.address}/{place} does not exist") from None
        except (OSError, ValueError) as error:  # no permission, a loop of links, a name too long, a NUL in it
            reason = getattr(error, "strerror", None) or error
            raise Refused("unreadable_image", f"{place[:80]!r}: {reason}") from None

    def _path(self, place: str) -> str:
        return f"{self._root}/{place}" if place else self._root

    def _check(self, path: str, place: str) -> None:
        """Refuse what lies outside."""
        real = os.path.realpath(path, strict=True)
        if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots):
            raise Refused("outside_folder", f"{place} leads to {real}, allowed: files inside {self.address}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # `entry.is_dir()` raises an error for a loop of links.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
