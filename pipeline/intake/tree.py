"""What an adapter reads: the files of a data set, whether they lie in a folder, an archive or a bucket.

Places are paths inside the tree with `/` between their parts. Nothing outside the tree is read, and nothing of
an archive is unpacked to disk under a name of its own choosing. A tree travels to other processes as its address.
"""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Protocol

from pipeline.core.errors import UserError
from pipeline.intake.listing import Refused

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


def wrong(tree: Tree, expected: str) -> UserError:
    """Return the error of a tree of another shape: what was found and what an adapter expects."""
    found = ", ".join(tree.entries()[:8]) or "nothing"
    return UserError(f"{tree.address}: found {found}; expected: {expected}")


def leads_out(place: str) -> bool:
    """Return whether a place is no path inside the tree."""
    return place.startswith("/") or ".." in PurePosixPath(place).parts


def is_junk(place: str) -> bool:
    """Return whether a member is hidden, or what macOS puts beside the members."""
    return any(part.startswith(".") or part == "__MACOSX" for part in place.split("/"))


def too_large(size: int) -> Refused:
    """Return the refusal of a file of `size` bytes."""
    return Refused.of("too_large", f"{size:,} bytes", f"at most {MOST_BYTES:,}")
