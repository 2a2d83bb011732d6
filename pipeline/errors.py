"""The one error that a user sees as a line of text instead of a traceback, and how its text is put together."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Something a user can put right: one line naming the file, row or key, what was found, what is allowed."""


def one_line(error: object) -> str:
    """Return what a library says was wrong, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def not_made(path: Path) -> UserError:
    """Return the error of a stage whose input an earlier stage has not written."""
    return UserError(f"{path}: not found; `dvc repro` makes it, `dvc checkout` restores it")
