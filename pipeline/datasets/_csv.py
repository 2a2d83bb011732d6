"""CSV files that strangers made: one bad line costs that line, never the lines around it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets._record import Refused
from pipeline.errors import UserError


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (row, line) of a UTF-8 file, with or without a byte order mark; rows count from 1.

    A line is a row: cells of these files hold no line breaks, and a quote that somebody forgot to close must
    not swallow the rows after it. Lines without anything in them are counted and left out.

    Raises:
        UserError: the file cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        found = f"byte {data[error.start]:#04x} at position {error.start}"
        raise UserError(f"{path}, row {row}: found {found}, expected: text in UTF-8") from None
    for row, line in enumerate(io.StringIO(text, newline=None), 1):
        if line.strip(", \t\n"):
            yield row, line


def cells(line: str, expected: int) -> list[str]:
    """Split a line into its cells, without the white space around them.

    Raises:
        Refused: `bad_row` if the quotes do not match or there are more or fewer cells than `expected`.
    """
    try:
        found = [cell.strip() for cell in _split(line)]
    except csv.Error as error:
        raise Refused("bad_row", f"not a CSV row: {error}") from None
    if len(found) != expected:
        raise Refused("bad_row", f"found {len(found)} cells, expected: {expected}")
    return found


def header(path: Path, rows: Iterator[tuple[int, str]], expected: str) -> list[str]:
    """Take the header off `rows` and return its column names, without the white space around them.

    Raises:
        UserError: there is no header, or it names a column twice.
    """
    _, line = next(rows, (0, ""))
    if not line:
        raise UserError(f"{path}: found an empty file, expected: a header with {expected}")
    try:
        names = [cell.strip() for cell in _split(line)]
    except csv.Error as error:
        raise UserError(f"{path}: the header is not a CSV row ({error}), expected: {expected}") from None
    lower = [name.lower() for name in names if name]
    if twice := sorted({name for name in lower if lower.count(name) > 1}):
        raise UserError(
            f"{path}: found the column {', '.join(twice)} more than once, expected: each column once"
        )
    return names


def _split(line: str) -> list[str]:
    return next(csv.reader([line], strict=True, skipinitialspace=True))
