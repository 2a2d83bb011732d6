"""A data set's files, whether they are in a folder, an archive or a bucket.

A place is a path inside the tree, with `/` between its parts. Nothing outside the tree is read. An archive is read
where it is: none of its members is unpacked to disk under its own name. Pickling a tree keeps its address alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.core.errors import UserError, no_raw_data
from pipeline.intake.archive import archive
from pipeline.intake.bucket import Bucket
from pipeline.intake.guards import Rejection, is_document, leads_out
from pipeline.intake.local_folder import LocalFolder
from pipeline.intake.names import split_name
from pipeline.tables.storage import is_remote


class Tree(Protocol):
    """The files of a data set.

    Attributes:
        address: its path or `s3://` address, for messages.
    """

    address: str

    def entries(self, under: str = "") -> list[str]:
        """Return the sorted names in a folder, folders with a final `/`; an empty list if it is no folder."""

    def has(self, place: str) -> bool:
        """Return whether there is a file at a place."""

    def files(self, under: str = "") -> Iterator[str]:
        """Yield the places of all files below a folder, in no particular order, without hidden files."""

    def linked(self) -> list[str]:
        """Return the sorted places of links to folders that are not followed, whose images nobody would count."""

    def open(self, place: str) -> IO[bytes]:
        """Open a file that the data set cannot do without, such as a CSV file.

        Raises:
            UserError: it cannot be read.
        """

    def read(self, place: str) -> bytes:
        """Return the content of an image file.

        Raises:
            Rejection: `missing_image`, `outside_folder` (the path or a link leaves the tree), `too_large` or
                `unreadable_image`.
        """


class Part:
    """A folder of a tree, as a tree that notes which files are opened.

    Args:
        tree: the whole tree.
        folder: the folder's place in it, "" for all of it.

    Attributes:
        opened: places of the files that were opened or read in this process.
    """

    def __init__(self, tree: Tree, folder: str = "") -> None:
        self._tree, self.folder = tree, folder
        self.address = f"{tree.address}/{folder}" if folder else tree.address
        self.opened: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"opened": set()}

    def entries(self, under: str = "") -> list[str]:
        """See `Tree`."""
        return self._tree.entries(self._place(under))

    def has(self, place: str) -> bool:
        """See `Tree`."""
        return self._tree.has(self._place(place))

    def files(self, under: str = "") -> Iterator[str]:
        """See `Tree`."""
        start = len(self._place("")) + bool(self.folder)
        return (place[start:] for place in self._tree.files(self._place(under)))

    def linked(self) -> list[str]:
        """See `Tree`. The places are those in the whole tree."""
        return self._tree.linked()

    def open(self, place: str) -> IO[bytes]:
        """See `Tree`."""
        file = self._tree.open(self._place(place))
        self.opened.add(place)
        return file

    def read(self, place: str) -> bytes:
        """See `Tree`."""
        if leads_out(place):  # of this part, although not of the tree
            raise Rejection.of("outside_folder", repr(place[:80]), f"files inside {self.address}")
        data = self._tree.read(self._place(place))
        self.opened.add(place)
        return data

    def inner(self) -> Part | None:
        """Return the only folder at the top with anything but documents such as a README, also beside it; else None."""
        entries = self.entries()
        folders = [entry[:-1] for entry in entries if entry.endswith("/")]
        if not all(is_document(entry) for entry in entries if not entry.endswith("/")):
            return None
        if len(folders) > 1:
            filled = (folder for folder in folders if not all(map(is_document, self.files(folder))))
            folders = [*islice(filled, 2)]
        if len(folders) != 1 or split_name(folders[0]):
            return None
        return Part(self._tree, self._place(folders[0]))

    def _place(self, place: str) -> str:
        return "/".join(filter(None, (self.folder, place)))


def open_tree(address: str | Path) -> Tree:
    """Return the tree at a path or an `s3://` address.

    An archive, or a folder with an archive as its only entry, is the tree of the archive's members.

    Raises:
        UserError: there is no folder, archive or bucket.
    """
    if is_remote(address):
        return Bucket(str(address))
    path = Path(address)
    try:
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            if len(entries) != 1 or not entries[0].is_file():
                return LocalFolder(path)
            return archive(entries[0]) or LocalFolder(path)
        if path.is_file():
            if opened := archive(path):
                return opened
            expected = "the data set's folder, an archive of it, or a symbolic link to either"
            raise UserError(
                f"{path}: found a file that is no archive (.zip, .tar, .tar.gz), expected: {expected}"
            )
        raise no_raw_data(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


class WrongTree(UserError):
    """A tree that is not laid out as the data set's module expects."""


def wrong_tree(tree: Tree, expected: str) -> WrongTree:
    """Return the error for a tree that is not laid out as the data set's module expects."""
    found = ", ".join(tree.entries()[:8]) or "nothing"
    return WrongTree(f"{tree.address}: found {found}; expected: {expected}")
