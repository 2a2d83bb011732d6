"""Limits for strangers' files, and the error of a record that breaks one."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pipeline.core.errors import mismatch, printable

MOST_BYTES = 256 * 2**20  # of an encoded image
# Errors of reading a damaged, truncated or encrypted file, in an archive or outside of one.
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


_DOCUMENTS = frozenset(  # by ending, or by name without one
    """txt md rst pdf doc docx odt rtf html htm tex bib csv tsv xls xlsx json jsonl yaml yml xml toml ini cfg log
    py ipynb m r sh bat npy npz mat pkl pth pt onnx h5 hdf5 parquet arrow feather db sqlite zip tar gz tgz bz2 xz 7z rar
    lnk url cache md5 sha256 readme license licence notice citation copying authors changelog version""".split()  # noqa: SIM905 - a list of strings takes 70 lines
)


class Rejection(Exception):
    """One record cannot be used; the records around it can.

    Args:
        reason: key in the metrics, snake_case: `missing_image`, `bad_votes`.
        detail: text for a person: what was found and what is allowed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, printable(detail)

    def __str__(self) -> str:
        return self.detail

    @classmethod
    def of(cls, reason: str, found: object, allowed: str | Iterable[str]) -> Rejection:
        """Return the rejection of a value that is not allowed."""
        return cls(reason, mismatch(found, allowed))


def check_size(size: int) -> None:
    """Reject an image file of more than `MOST_BYTES`.

    Raises:
        Rejection: `too_large`.
    """
    if size > MOST_BYTES:
        raise Rejection.of("too_large", f"{size:,} bytes", f"at most {MOST_BYTES:,}")


def leads_out(place: str) -> bool:
    """Return whether a path is absolute or has `..` in it, so that it may leave the tree."""
    return place.startswith("/") or ".." in PurePosixPath(place).parts


def is_document(place: str) -> bool:
    """Return whether a file is, by its ending, text, a table or an archive: no image that somebody would miss."""
    name, dot, ending = place.rpartition("/")[2].rpartition(".")
    return ending.lower() in _DOCUMENTS if dot and name else (name or ending).lower() in _DOCUMENTS


# Folders in which macOS, Windows and network storage keep metadata, thumbnails and deleted files.
_OF_SYSTEMS = {
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
}


def is_hidden(place: str) -> bool:
    """Return whether a part of a path starts with a dot or is a folder of a system's own."""
    return any(part.startswith(".") or part in _OF_SYSTEMS for part in place.split("/"))
