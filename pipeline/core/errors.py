"""The error that a user sees as one line instead of a traceback, and the wording of such lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Control characters and line breaks, and bytes of file names that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class UserError(Exception):
    """A mistake that the user can correct, or several. The message has one line for each."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))

    @classmethod
    def of(cls, source: object, found: object, allowed: str | Iterable[str]) -> UserError:
        """Return the error of a value that is not allowed.

        Args:
            source: the file, key or option that holds the value.
            found: the value, or a description of it.
            allowed: the allowed values, or a description of them.
        """
        return cls(f"{source}: {mismatch(found, allowed)}")


def mismatch(found: object, allowed: str | Iterable[str]) -> str:
    """Return `found X, allowed: Y`; several allowed values are joined by commas."""
    return f"found {found}, allowed: {allowed if isinstance(allowed, str) else ', '.join(allowed)}"


def printable(text: str) -> str:
    """Return text as one line of valid UTF-8; other characters are escaped."""
    if text.isprintable():  # ten times faster, and true for nearly every name
        return text
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(error: object) -> str:
    """Return a library's error message as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def not_made(path: Path) -> UserError:
    """Return the error for an input that an earlier stage has not written."""
    return UserError(f"{path}: not found; `dvc repro` makes it, `dvc checkout` restores it")


def no_raw_data(path: Path) -> UserError:
    """Return the error for `data/raw/<dataset>` that is not there."""
    found = "nothing"
    if path.is_symlink():
        found = f"a link to {path.readlink()}, which is not there"
    elif (tracked := path.with_name(f"{path.name}.dvc")).is_file():
        found = f"only {tracked}, whose data `dvc pull {tracked}` fetches"
    return UserError(
        f"{path}: found {found}, expected: the data set's folder, an archive of it, or a symbolic link to either"
    )
