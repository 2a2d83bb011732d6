"""Archives as trees: read in place, whatever they claim to hold."""

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
from pipeline.intake.listing import Refused
from pipeline.intake.tree import BROKEN, MOST_BYTES, is_junk, leads_out, too_large

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# An archive of pictures expands to little more than its size, one of CSV files to ten times as much. Below the
# second number, in bytes, any archive may be expanded.
_MOST_EXPANSION, _SMALL = 100, 2**30


def archive(path: Path) -> Zip | Tar | None:
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
                raise UserError.of(self.address, f"a member {name[:80]!r}", "names inside the archive")
            found[str(path)] = member
        heads = [place.partition("/") for place in found if not is_junk(place)]
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
        yield from (place for place in self._members if place.startswith(prefix) and not is_junk(place))

    def _member(self, place: str) -> Any:
        if leads_out(place):
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
            raise too_large(info.file_size)
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
                raise UserError.of(self.address, f"more than {most:,} bytes in it", "at most that")
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
            raise too_large(size)
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
