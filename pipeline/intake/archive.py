"""Archives as trees. They are read in place, with limits for what a hostile archive may claim.

The file systems of `fsspec` do not take their place: they have none of these limits, and follow links.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline.core.errors import UserError, one_line
from pipeline.intake.guards import BROKEN, MOST_BYTES, Rejection, check_size, is_hidden, leads_out

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# An archive of images expands to little more than its own size, one of CSV files to ten times as much. An archive
# may expand to a hundred times its size, or to 256 MiB (`_SMALL`) if that is more.
_MOST_EXPANSION, _SMALL = 100, 2**28


def archive(path: Path) -> ZipArchive | TarArchive | None:
    """Return the archive in a file, whatever the file's name; None if the file is no archive.

    Raises:
        UserError: the file has the name of an archive, but is damaged or truncated.
        OSError: it cannot be read.
    """
    with suppress(EOFError, zlib.error):
        if tarfile.is_tarfile(path):
            return TarArchive(path)
    # A tar file may have the mark of a zip file in its last 64 KiB: in a member, or by chance.
    if zipfile.is_zipfile(path):
        return ZipArchive(path)
    if path.name.lower().endswith(_ENDINGS):
        raise UserError(f"{path}: damaged or cut short, expected: a whole archive (.zip, .tar, .tar.gz)")
    return None


def check_expansion(address: str, size: int, packed: int) -> None:
    """Reject a file that expands to an absurd size.

    Args:
        address: its path, for messages.
        size: bytes to which it expands at least.
        packed: its bytes.

    Raises:
        UserError: it does.
    """
    if size > max(_SMALL, _MOST_EXPANSION * packed):
        allowed = f"{_MOST_EXPANSION} times as many, or {_SMALL:,}"
        raise UserError.of(address, f"{size:,} bytes or more, packed into {packed:,}", allowed)


def tar_members(file: IO[bytes], address: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Yield the name of each file in a tar archive, and where it starts and its size in bytes.

    There is None instead of start and size for a link or a special file.

    Args:
        file: the archive, not compressed. It may be read elsewhere between two members.
        address: its path, for messages.

    Raises:
        UserError: it is damaged or cut short.
    """
    members: dict[str, tuple[int, int] | None] = {}
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                if info.isdir():
                    continue
                member = None
                if info.isreg() and not info.issparse():
                    member = info.offset_data, info.size
                elif info.islnk():  # a second name of an earlier member
                    member = members.get(info.linkname)
                members[info.name] = member
                yield info.name, member
            # `tarfile` takes a damaged or missing header for the end of the archive.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no end of the archive at byte {tar.offset:,}")
    except BROKEN as error:
        raise UserError(f"{address}: damaged or cut short: {one_line(error)}") from None


class _Archive:
    """The tree of an archive's members.

    Of several members with one name the last one counts, as it does when an archive is unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._path = os.path.realpath(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "_path": self._path}

    def _check_expansion(self, size: int) -> None:
        """Reject an archive that expands to at least `size` bytes, if that is absurd."""
        check_expansion(self.address, size, os.path.getsize(self._path))

    def _named_members(self) -> Iterator[tuple[str, Any]]:
        """Yield name and member of each file; the member is None for a link or a special file."""
        raise NotImplementedError

    def _size(self, member: Any) -> int:
        """Return the size that an archive claims for a member, in bytes."""
        raise NotImplementedError

    def _open(self, member: Any) -> IO[bytes]:
        raise NotImplementedError

    @cached_property
    def _members(self) -> dict[str, Any]:
        """Members by place."""
        members = {}
        for name, member in self._named_members():
            path = PurePosixPath(name)
            if not path.name or leads_out(name) or path.parts[0].endswith(":"):
                raise UserError.of(self.address, f"a member {name[:80]!r}", "names inside the archive")
            members[str(path)] = member
        sizes = [self._size(member) for member in members.values() if member is not None]
        self._check_expansion(sum(size for size in sizes if size <= MOST_BYTES))  # `read` rejects the others
        return members

    def _below(self, folder: str) -> Iterator[str]:
        return (place for place in self._members if place.startswith(f"{folder}/" if folder else ""))

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        inside = (place[len(under) + bool(under) :].partition("/") for place in self._below(under))
        return sorted({name + slash for name, slash, _ in inside if not is_hidden(name)})

    def has(self, place: str) -> bool:
        """See `Tree`."""
        return place in self._members

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`."""
        return (place for place in self._below(under) if not is_hidden(place))

    def linked(self) -> list[str]:
        """See `Tree`. An archive does not tell where a link leads: one without an ending may be to a folder."""
        links = (place for place in self.files() if self._members[place] is None)
        return sorted(place for place in links if "." not in place.rpartition("/")[2])

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        try:
            return self._open(self._member(place))
        except (*BROKEN, Rejection) as error:
            raise UserError(f"{self.address}/{place}: cannot be read: {one_line(error)}") from None

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        member = self._member(place)
        size = self._size(member)
        check_size(size)
        try:
            with self._open(member) as file:
                data = file.read(MOST_BYTES)  # the header may claim less than there is
        except Exception as error:  # zlib, lzma, passwords, damaged members: a dozen unrelated types
            raise Rejection("unreadable_image", f"{self.address}/{place}: {one_line(error)}") from None
        if len(data) < size:
            raise Rejection("unreadable_image", f"{self.address}/{place}: cut short")
        return data

    def _member(self, place: str) -> Any:
        if leads_out(place):
            raise Rejection("outside_folder", f"{place!r}, allowed: members of {self.address}")
        if place not in self._members:
            raise Rejection("missing_image", f"{self.address} holds no {place}")
        if self._members[place] is None:
            raise Rejection("unreadable_image", f"{self.address}/{place} is a link or a special file")
        return self._members[place]


def _as_utf8(info: zipfile.ZipInfo) -> str:
    """Return the name of a member. macOS writes UTF-8 and does not say so, which zipfile reads as code page 437."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


class ZipArchive(_Archive):
    """A `.zip` file, read in place."""

    _opened: tuple[int, zipfile.ZipFile] | None = None

    def _named_members(self) -> Iterator[tuple[str, zipfile.ZipInfo | None]]:
        for info in self._file().infolist():
            name = _as_utf8(info).replace("\\", "/")  # some programs write backslashes
            if not name.endswith("/"):
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                yield name, info if plain else None

    def _size(self, member: zipfile.ZipInfo) -> int:
        return member.file_size

    def _open(self, member: zipfile.ZipInfo) -> IO[bytes]:
        return self._file().open(member)

    def _file(self) -> zipfile.ZipFile:
        # Processes that share an open file share its position, so each process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except (*BROKEN, ValueError) as error:
                raise UserError(f"{self.address}: not a .zip archive: {one_line(error)}") from None
        return self._opened[1]


class TarArchive(_Archive):
    """A `.tar` file. A compressed one is expanded once, into a file without a name. A member is (start, size)."""

    @cached_property
    def _plain(self) -> IO[bytes]:
        """The expanded archive. `os.pread` reads it, so that forked processes can share it."""
        opened: IO[bytes]
        try:
            opened = open(self._path, "rb")  # noqa: SIM115 - it stays open as long as the tree is used
            with suppress(tarfile.TarError), tarfile.open(fileobj=opened, mode="r:"):
                return opened
            expanded = tempfile.TemporaryFile()  # noqa: SIM115
            with opened, tarfile.open(self._path) as compressed:
                source: Any = compressed.fileobj
                source.seek(0)
                while block := source.read(2**20):
                    expanded.write(block)
                    self._check_expansion(expanded.tell())
            expanded.flush()
            return expanded
        except BROKEN as error:
            raise UserError(
                f"{self.address}: cannot be expanded into a temporary file in {tempfile.gettempdir()}: "
                f"{one_line(error)}"
            ) from None

    def _named_members(self) -> Iterator[tuple[str, tuple[int, int] | None]]:
        return tar_members(self._plain, self.address)

    def _size(self, member: tuple[int, int]) -> int:
        return member[1]

    def _open(self, member: tuple[int, int]) -> IO[bytes]:
        return io.BufferedReader(_Window(self._plain.fileno(), *member))


class _Window(io.RawIOBase):
    """A stretch of a file, as a file of its own."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._position))
        data = os.pread(self._file, length, self._start + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
