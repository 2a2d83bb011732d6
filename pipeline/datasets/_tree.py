"""Where a data set's files lie: a folder, an archive read in place, or a bucket. Adapters see the same thing.

Places are paths inside the tree with `/` between their parts. Nothing outside the tree is read, and nothing of
an archive is unpacked to disk under a name of its own choosing. A tree travels to other processes as its address.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import pyarrow.fs as pafs

from pipeline.datasets._listing import Refused
from pipeline.errors import UserError, one_line
from pipeline.storage import is_remote, open_store

MOST_BYTES = 256 * 2**20  # of one picture
# What reading a damaged, cut short or encrypted file raises, in an archive or not.
BROKEN = (
    OSError,
    EOFError,
    RuntimeError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe must not block
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# An archive of pictures expands to little more than its size, one of CSV files to ten times as much. Below the
# second number, in bytes, any archive may be expanded.
_MOST_EXPANSION, _SMALL = 100, 2**30


class Tree(Protocol):
    """The files of a data set.

    Attributes:
        address: what a message calls it.
    """

    address: str

    def entries(self, under: str = "") -> list[str]:
        """Return the names in a folder of the tree, sorted, folders with a `/` behind; none if it is no folder."""

    def has(self, place: str) -> bool:
        """Return whether there is a file at a place."""

    def files(self, under: str = "") -> Iterator[str]:
        """Yield the places of all files below a folder, hidden ones left out, in no particular order."""

    def open(self, place: str) -> IO[bytes]:
        """Open a file that must be there, such as a CSV.

        Raises:
            UserError: it cannot be read.
        """

    def read(self, place: str) -> bytes:
        """Return the bytes of a picture.

        Raises:
            Refused: `missing_image`, `outside_folder` (a path or link that leaves the tree), `too_large`,
                `unreadable_image`.
        """


def open_tree(address: str | Path) -> Tree:
    """Return the tree at a path or an `s3://` address.

    A folder that holds one archive and nothing else, or a file that is one, stands for what is in the archive.

    Raises:
        UserError: there is nothing of that kind.
    """
    if is_remote(address):
        return Bucket(str(address))
    path = Path(address)
    try:
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            if len(entries) != 1 or not entries[0].is_file():
                return Folder(path)
            archive = _archive(entries[0])
            return archive or Folder(path)
        if path.is_file():
            if archive := _archive(path):
                return archive
            found = "a file that is no archive (.zip, .tar, .tar.gz)"
        else:
            found = f"a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "nothing"
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    raise UserError(
        f"{path}: found {found}, expected: the data set's folder, an archive of it, or a symbolic link to either"
    )


def wrong(tree: Tree, expected: str) -> UserError:
    """Return the error of a tree of another shape: what was found and what an adapter expects."""
    found = ", ".join(tree.entries()[:8]) or "nothing"
    return UserError(f"{tree.address}: found {found}; expected: {expected}")


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
            for entry in self._scan(folder):
                place = f"{folder}/{entry.name}" if folder else entry.name
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
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise Refused("unreadable_image", f"{self.address}/{place} is not a file")
                if status.st_size > MOST_BYTES:
                    raise _too_large(status.st_size)
                return os.read(file, status.st_size)
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


class _Members:
    """What both kinds of archives share: the places of their members, below a single folder at the top.

    Of members with one name the last one counts, as when the archive is unpacked.
    """

    address: str

    @cached_property
    def _members(self) -> dict[str, Any]:
        """Members by place, None for a link or a special file."""
        found = {}
        for name, member in self._listed():
            path = PurePosixPath(name)
            if not path.name or path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":"):
                raise UserError(
                    f"{self.address}: found a member {name[:80]!r}, allowed: names inside the archive"
                )
            found[str(path)] = member
        heads = [place.partition("/") for place in found if not _is_junk(place)]
        tops = {head + slash for head, slash, _ in heads}
        if len(tops) == 1 and (top := tops.pop()).endswith("/"):
            return {place[len(top) :]: found[place] for place in found if place.startswith(top)}
        return found

    def _listed(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of every member that is no folder, and what is needed to read it."""
        raise NotImplementedError

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        prefix = f"{under}/" if under else ""
        inside = (place[len(prefix) :] for place in self._members if place.startswith(prefix))
        return sorted(
            {head + slash for head, slash, _ in (p.partition("/") for p in inside) if head[0] != "."}
        )

    def has(self, place: str) -> bool:
        """See `Tree`."""
        return place in self._members

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`."""
        prefix = f"{under}/" if under else ""
        yield from (place for place in self._members if place.startswith(prefix) and not _is_junk(place))

    def _member(self, place: str) -> Any:
        parts = PurePosixPath(place).parts
        if ".." in parts or place.startswith("/"):
            raise Refused("outside_folder", f"{place!r}, allowed: members of {self.address}")
        try:
            member = self._members[place]
        except KeyError:
            raise Refused("missing_image", f"{self.address} holds no {place}") from None
        if member is None:
            raise Refused("unreadable_image", f"{self.address}/{place} is a link or a special file")
        return member


class Zip(_Members):
    """A `.zip` file, read in place."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._path = os.path.realpath(path)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "_path": self._path, "_opened": None}

    def _listed(self) -> Iterator[tuple[str, zipfile.ZipInfo | None]]:
        for info in self._file().infolist():
            name = info.filename.replace("\\", "/")  # as some programs write it
            if not name.endswith("/"):
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                yield name, info if plain else None

    def _file(self) -> zipfile.ZipFile:
        # Processes that share an open file share its position: each opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except (*BROKEN, ValueError) as error:
                raise UserError(f"{self.address}: not a .zip archive: {one_line(error)}") from None
        return self._opened[1]

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        try:
            return self._file().open(self._member(place))
        except (*BROKEN, Refused) as error:
            raise UserError(f"{self.address}/{place}: cannot be read: {one_line(error)}") from None

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        info = self._member(place)
        if info.file_size > MOST_BYTES:
            raise _too_large(info.file_size)
        try:
            with self._file().open(info) as file:
                return file.read(MOST_BYTES)  # a header may claim less than there is
        except Exception as error:  # zlib, lzma, passwords, damaged members: a dozen unrelated types
            raise Refused("unreadable_image", f"{self.address}/{place}: {one_line(error)}") from None


class Tar(_Members):
    """A `.tar` file, compressed or not. A compressed one is expanded once, into a file without a name."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._path = os.path.realpath(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "_path": self._path}

    @cached_property
    def _plain(self) -> IO[bytes]:
        """The expanded archive; read with `os.pread`, so that forked processes can share it."""
        opened: IO[bytes]
        try:
            opened = open(self._path, "rb")  # noqa: SIM115 - it stays open as long as the tree is used
            with suppress(tarfile.TarError), tarfile.open(fileobj=opened, mode="r:"):
                return opened
            expanded = tempfile.TemporaryFile()  # noqa: SIM115
            with opened, tarfile.open(self._path) as compressed:
                source: Any = compressed.fileobj
                source.seek(0)
                self._expand(source, expanded, max(_SMALL, _MOST_EXPANSION * os.path.getsize(self._path)))
            expanded.flush()
            return expanded
        except BROKEN as error:
            raise UserError(
                f"{self.address}: cannot be expanded into a temporary file: {one_line(error)}"
            ) from None

    def _expand(self, source: IO[bytes], expanded: IO[bytes], most: int) -> None:
        while block := source.read(2**20):
            if expanded.tell() + len(block) > most:
                raise UserError(
                    f"{self.address}: found more than {most:,} bytes in it, allowed: at most that"
                )
            expanded.write(block)

    def _listed(self) -> Iterator[tuple[str, tuple[int, int] | None]]:
        self._plain.seek(0)
        places: dict[str, tuple[int, int] | None] = {}
        try:
            with tarfile.open(fileobj=self._plain, mode="r:") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    place = None
                    if member.isreg() and not member.issparse():
                        place = member.offset_data, member.size
                    elif member.islnk():  # another name of an earlier member
                        place = places.get(member.linkname)
                    places[member.name] = place
                    yield member.name, place
                # A header that is damaged, or not there any more, ends an archive as well.
                if os.pread(self._plain.fileno(), tarfile.BLOCKSIZE, tar.offset) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"no end of the archive at byte {tar.offset:,}")
        except BROKEN as error:
            raise UserError(f"{self.address}: damaged or cut short: {one_line(error)}") from None

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        try:
            start, size = self._member(place)
        except Refused as why:
            raise UserError(f"{self.address}/{place}: cannot be read: {why}") from None
        return io.BufferedReader(_Window(self._plain.fileno(), start, size))

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        start, size = self._member(place)
        if size > MOST_BYTES:
            raise _too_large(size)
        try:
            data = os.pread(self._plain.fileno(), size, start)
        except OSError as error:
            raise Refused("unreadable_image", f"{self.address}/{place}: {error.strerror}") from None
        if len(data) < size:
            raise Refused("unreadable_image", f"{self.address}/{place}: cut short")
        return data


class _Window(io.RawIOBase):
    """A stretch of a file as a file of its own."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        data = os.pread(self._file, wanted, self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Bucket:
    """A prefix in an S3-compatible object store; credentials and endpoint as AWS's own environment variables."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address}

    @cached_property
    def _store(self) -> tuple[pafs.FileSystem, str]:
        return open_store(self.address)

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        return sorted(
            i.base_name + "/" * (i.type == pafs.FileType.Directory) for i in self._infos(under, False)
        )

    def has(self, place: str) -> bool:
        """See `Tree`."""
        system, root = self._store
        return system.get_file_info(f"{root}/{place}").type == pafs.FileType.File

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`."""
        _, root = self._store
        for info in self._infos(under, True):
            if info.type == pafs.FileType.File and not info.base_name.startswith("."):
                yield info.path[len(root) + 1 :]

    def _infos(self, under: str, recursive: bool) -> list[pafs.FileInfo]:
        system, root = self._store
        where = f"{root}/{under}" if under else root
        try:
            return system.get_file_info(
                pafs.FileSelector(where, recursive=recursive, allow_not_found=bool(under))
            )
        except OSError as error:
            raise UserError(f"{self.address}: cannot be listed: {one_line(error)}") from None

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        system, root = self._store
        try:
            return io.BufferedReader(system.open_input_file(f"{root}/{place}"))
        except OSError as error:
            raise UserError(f"{self.address}/{place}: cannot be read: {one_line(error)}") from None

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        if ".." in PurePosixPath(place).parts or place.startswith("/"):
            raise Refused("outside_folder", f"{place!r}, allowed: objects below {self.address}")
        system, root = self._store
        try:
            with system.open_input_file(f"{root}/{place}") as file:
                if file.size() > MOST_BYTES:
                    raise _too_large(file.size())
                return file.read()
        except FileNotFoundError:
            raise Refused("missing_image", f"{self.address}/{place} does not exist") from None
        except OSError as error:
            raise Refused("unreadable_image", f"{place[:80]!r}: {one_line(error)}") from None


def _archive(path: Path) -> Zip | Tar | None:
    """Return the archive that a file is, whatever its name; None if it is none.

    Raises:
        UserError: the file is named as an archive, and is none or a part of one.
        OSError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        return Zip(path)
    with suppress(EOFError, zlib.error):
        if tarfile.is_tarfile(path):
            return Tar(path)
    if path.name.lower().endswith(_ARCHIVES):
        raise UserError(f"{path}: damaged or cut short, expected: a whole archive (.zip, .tar, .tar.gz)")
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # `entry.is_dir()` raises an error for a loop of links.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_junk(place: str) -> bool:
    """Return whether a member is hidden, or what macOS puts beside the members."""
    return any(part.startswith(".") or part == "__MACOSX" for part in place.split("/"))


def _too_large(size: int) -> Refused:
    return Refused("too_large", f"found {size:,} bytes, allowed: at most {MOST_BYTES:,}")
