"""CSV files that strangers made. A bad line costs that line alone, never the lines around it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pipeline.core.errors import UserError, mismatch, one_line
from pipeline.intake.guards import BROKEN, Rejection
from pipeline.intake.tree import Tree

_SEPARATOR = re.compile(r'"?sep=."?\s*', re.IGNORECASE)
_LONGEST_ROW = 100_000  # characters
_LONGEST_LINE = 2**20  # characters: a file that is no text may be one line of gigabytes


def lines(tree: Tree, place: str) -> Iterator[tuple[int, str]]:
    """Yield (row, line) of a file in UTF-8, or in UTF-16 with a byte order mark; rows count from 1.

    Each line is a row. The cells of these files hold no line breaks, and a quote that somebody forgot to close must
    not swallow the rows after it. Empty lines are counted and left out. Lines may end in LF, CR LF or CR. A line that
    is no UTF-8 is read as Windows-1252, which Excel writes.

    Raises:
        UserError: the file cannot be read, or a line is in none of these encodings.
    """
    path = f"{tree.address}/{place}"
    with tree.open(place) as binary:
        row = 0
        try:
            utf_16 = binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            binary.seek(0)
            # Bytes that are no UTF-8 become surrogates, which UTF-8 text never contains.
            encoding, errors = ("utf-16", "strict") if utf_16 else ("utf-8-sig", "surrogateescape")
            text = io.TextIOWrapper(binary, encoding, errors, newline=None)
            while line := text.readline(_LONGEST_LINE):
                row += 1
                if len(line) == _LONGEST_LINE:
                    raise UserError(f"{path}, row {row}: found a line of {len(line):,} characters or more")
                if not line.isascii() and (bad := next((c for c in line if "\udc80" <= c <= "\udcff"), None)):
                    try:
                        line = _windows_1252(line)
                    except UnicodeError:
                        byte = f"byte {ord(bad) - 0xDC00:#04x}"
                        raise UserError(
                            f"{path}, row {row}: found {byte}, expected: text in UTF-8, UTF-16 or Windows-1252"
                        ) from None
                if line.strip(",;| \t\n"):
                    yield row, line
        except UnicodeError as error:
            raise UserError(f"{path}: found {error}, expected: text in UTF-8") from None
        except BROKEN as error:
            raise UserError(f"{path}: cannot be read: {one_line(error)}") from None


def _windows_1252(line: str) -> str:
    """Return a line that is no UTF-8 as Windows-1252.

    Raises:
        UnicodeError: parts of it are UTF-8, or it is no text.
    """
    if any(c < " " and c not in "\t\n" for c in line):
        raise UnicodeError
    return line.encode("ascii", "surrogateescape").decode("cp1252")


def separator(line: str) -> str:
    """Return the character that separates the cells of a header: a comma unless another one gives more columns."""
    columns = {}
    for mark in ",;\t|":
        with suppress(csv.Error):
            columns[mark] = len(_split(line, mark))
    return max(columns, key=lambda mark: columns[mark], default=",")


def cells(line: str, expected: int, mark: str = ",") -> list[str]:
    """Split a line into its cells, without the white space around them.

    Args:
        line: a row.
        expected: number of cells.
        mark: what separates them.

    Raises:
        Rejection: `bad_row` if the quotes do not match or there are more or fewer cells than `expected`.
    """
    if len(line) > _LONGEST_ROW:
        raise Rejection.of("bad_row", f"a row of {len(line):,} characters", f"{_LONGEST_ROW:,}")
    try:
        split = _split(line.rstrip("\n") if mark == "\t" else line.rstrip(), mark)
    except csv.Error as error:
        raise Rejection("bad_row", f"not a CSV row: {error}") from None
    if len(split) != expected:
        raise Rejection("bad_row", f"found {len(split)} cells, expected: {expected}")
    return split


def header(
    tree: Tree, place: str, rows: Iterator[tuple[int, str]], required: Sequence[str], expected: str = ""
) -> tuple[list[str], str]:
    """Take the header from `rows`. Return its column names, without the white space around them, and the separator.

    Args:
        tree: the data set's files.
        place: the CSV file in it.
        rows: the file's rows, as `lines` yields them.
        required: columns that must be there.
        expected: for messages, what the header must hold; "": the required columns.

    Raises:
        UserError: there is no header, it is longer than any row may be, it names a column twice or lacks one.
    """
    path, expected = f"{tree.address}/{place}", expected or ", ".join(required)
    _, line = next(rows, (0, ""))
    if _SEPARATOR.fullmatch(line):  # Excel writes it above the header
        _, line = next(rows, (0, ""))
    if not line:
        raise UserError(f"{path}: found an empty file, expected: a header with {expected}")
    if "\0" in line:
        raise UserError(
            f"{path}: found null bytes, expected: text in UTF-8, or in UTF-16 with a byte order mark"
        )
    try:
        if len(line) > _LONGEST_ROW:
            raise csv.Error(mismatch(f"{len(line):,} characters", f"{_LONGEST_ROW:,}"))
        names = _split(line, mark := separator(line))
    except csv.Error as error:
        raise UserError(f"{path}: the header is not a CSV row ({error}), expected: {expected}") from None
    counts = Counter(name.lower() for name in names if name)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise UserError(
            f"{path}: found the column {', '.join(twice)[:200]} more than once in the first line, expected: a "
            f"header with {expected}"
        )
    if missing := [name for name in required if name not in names]:
        raise UserError(f"{path}: found no column {', '.join(missing)}, expected: {expected}")
    return names, mark


def _split(line: str, mark: str) -> list[str]:
    if '"' in line:
        split = next(csv.reader([line], strict=True, skipinitialspace=True, delimiter=mark))
    else:
        split = line.split(mark)
    return [cell.strip() for cell in split]
