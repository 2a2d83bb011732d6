"""The one error that a user sees as a line of text instead of a traceback, and how its text is put together."""

from __future__ import annotations

import re
from pathlib import Path

# What moves a terminal to another line, or worse; and bytes of a file's name that are no UTF-8.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class UserError(Exception):
    """Something a user can put right: one line naming the file, row or key, what was found, what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return a text, which may hold names that strangers chose, as one line that can be written as UTF-8."""
    if text.isprintable():  # a tenth of the time, for nearly every name
        return text
    return _NO_TEXT.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(error: object) -> str:
    """Return what a library says was wrong, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def not_made(path: Path) -> UserError:
    """Return the error of a stage whose input an earlier stage has not written."""
    return UserError(f"{path}: not found; `dvc repro` makes it, `dvc checkout` restores it")
