"""A folder on this machine as a tree."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.core.errors import UserError
from pipeline.intake.guards import Rejection, check_size, is_hidden

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a pipe must not block
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# DVC's cache and Hugging Face's name a file by the hash of its content, so a link can lead only to content that its
# author knew.
_IN_CACHE = re.compile(r".*(/[0-9a-f]{2}/[0-9a-f]{30}|/blobs/([0-9a-f]{40}|[0-9a-f]{64}))", re.DOTALL)


class LocalFolder:
    """A folder on this machine, or a symbolic link to one.

    Links to folders directly inside it are part of it. So are links to whatever lies in it, and links to files in
    DVC's cache (`cache.type: symlink`) and in Hugging Face's.
    """

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._root = os.path.realpath(path)
        with os.scandir(self._root) as entries:
            links = [entry.path for entry in entries if entry.is_symlink() and _is_folder(entry)]
        self._roots = [self._root, *map(os.path.realpath, links)]
        self._checked: set[str] = set()  # folders that are inside

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        return sorted(entry.name + "/" * _is_folder(entry) for entry in self._scan(under))

    def has(self, place: str) -> bool:
        """See `Tree`."""
        return os.path.isfile(self._path(place))

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`. A link to a folder outside the tree, or to one above, counts as a file, which `read` rejects."""
        return (place for place, _ in self._walk(under))

    def linked(self) -> list[str]:
        """See `Tree`."""
        return sorted(place for place, is_linked in self._walk("") if is_linked)

    def leads_out(self, place: str) -> bool:
        """Return whether a file is a link that leads out of the tree, so that `read` rejects it."""
        path = self._path(place)
        try:
            return os.path.islink(path) and not self._check(path, place)
        except Rejection:
            return True
        except (OSError, ValueError):
            return False

    def _walk(self, under: str) -> Iterator[tuple[str, bool]]:
        """Yield the place of each file below a folder, and whether it is a link to a folder outside the tree."""
        folders = [(under, os.path.realpath(self._path(under)), frozenset[str]())]
        while folders:
            folder, real, above = folders.pop()
            for entry in self._scan(folder):
                place = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((place, f"{real}/{entry.name}", above))
                    continue
                target = os.path.realpath(entry.path) if _is_folder(entry) else ""
                loop = target in above or f"{real}/".startswith(f"{target}/")
                if target and self._is_inside(target) and not loop:
                    folders.append((place, target, above | {real, target}))
                else:
                    yield place, bool(target) and not loop

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield the entries of a folder without hidden ones; nothing if it is no folder."""
        try:
            with os.scandir(self._path(folder)) as entries:
                yield from (entry for entry in entries if not is_hidden(entry.name))
        except (NotADirectoryError, FileNotFoundError):
            return
        except OSError as error:
            path = f"{self.address}/{folder}" if folder else self.address
            raise UserError(f"{path[:200]}: cannot be read: {error.strerror}") from None

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        path = f"{self.address}/{place}"
        try:
            file = os.fdopen(os.open(self._path(place), os.O_RDONLY | _NONBLOCK), "rb")
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise UserError(f"{path}: found a pipe or a device, expected: a file")
        return file

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        try:
            file = self._open_inside(place)
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise Rejection("unreadable_image", f"{self.address}/{place} is not a file")
                check_size(status.st_size)
                return os.read(file, status.st_size)
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError):
            raise Rejection("missing_image", f"{self.address}/{place} does not exist") from None
        except (OSError, ValueError) as error:  # no permission, a loop of links, a name too long, a NUL in it
            reason = getattr(error, "strerror", None) or error
            raise Rejection("unreadable_image", f"{place[:80]!r}: {reason}") from None

    def _open_inside(self, place: str) -> int:
        """Open a file after checking where its folder is and, if the file is a link, where the link leads."""
        flags, path = os.O_RDONLY | _NONBLOCK, self._path(place)
        folder = place.rpartition("/")[0]
        if folder not in self._checked:
            self._check(self._path(folder), place)
            self._checked.add(folder)
        try:
            return os.open(path, flags | _NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return os.open(self._check(path, place), flags)

    def _check(self, path: str, place: str) -> str:
        """Return the real path of a path; reject one outside of the tree and of DVC's cache."""
        real = os.path.realpath(path, strict=True)
        if not self._is_inside(real) and not _IN_CACHE.fullmatch(real):
            remedy = f"files inside {self.address}, and links to folders directly in it"
            raise Rejection("outside_folder", f"{place} leads to {real}, allowed: {remedy}")
        return real

    def _is_inside(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _path(self, place: str) -> str:
        return f"{self._root}/{place}" if place else self._root


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # `entry.is_dir()` raises an error for a loop of links.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
