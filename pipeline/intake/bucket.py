"""A prefix of an object store as a tree."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any

import pyarrow.fs as pafs

from pipeline.core.errors import UserError, one_line
from pipeline.intake.guards import Rejection, check_size, is_hidden, leads_out
from pipeline.tables.storage import open_store


class Bucket:
    """A prefix in an S3-compatible object store. AWS's own environment variables set credentials and endpoint."""

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
            info.base_name + "/" * (info.type == pafs.FileType.Directory)
            for info in self._infos(under, False)
            if not is_hidden(info.base_name)
        )

    def has(self, place: str) -> bool:
        """See `Tree`."""
        system, root = self._store
        return system.get_file_info(f"{root}/{place}").type == pafs.FileType.File

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`."""
        _, root = self._store
        for info in self._infos(under, True):
            place = info.path[len(root) + 1 :]
            if info.type == pafs.FileType.File and not is_hidden(place):
                yield place

    def linked(self) -> list[str]:
        """See `Tree`."""
        return []

    def _infos(self, under: str, recursive: bool) -> list[pafs.FileInfo]:
        system, root = self._store
        folder = f"{root}/{under}" if under else root
        try:
            return system.get_file_info(
                pafs.FileSelector(folder, recursive=recursive, allow_not_found=bool(under))
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
        if leads_out(place):
            raise Rejection("outside_folder", f"{place!r}, allowed: objects below {self.address}")
        system, root = self._store
        try:
            with system.open_input_file(f"{root}/{place}") as file:
                check_size(file.size())
                return file.read()
        except FileNotFoundError:
            raise Rejection("missing_image", f"{self.address}/{place} does not exist") from None
        except OSError as error:
            raise Rejection("unreadable_image", f"{place[:80]!r}: {one_line(error)}") from None
