"""CSV files that strangers made: one bad line costs that line, never the lines around it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv_of_arrow

from pipeline.core.errors import UserError, one_line
from pipeline.core.parallel import chunks
from pipeline.intake.listing import Refused
from pipeline.intake.tree import BROKEN, Tree

_LONGEST = 100_000  # characters of a row
_BLOCK_ROWS, _BLOCK_BYTES = 4096, 2**18
_MOST = 2**20  # characters of a line: a file that is no text may be one line of gigabytes


def lines(tree: Tree, place: str) -> Iterator[tuple[int, str]]:
    """Yield (row, line) of a UTF-8 file, with or without a byte order mark; rows count from 1.

    A line is a row: cells of these files hold no line breaks, and a quote that somebody forgot to close must
    not swallow the rows after it. Lines without anything in them are counted and left out. Lines may end in
    LF, CR LF or CR.

    Raises:
        UserError: the file cannot be read or is not UTF-8.
    """
    where = f"{tree.address}/{place}"
    with tree.open(place) as binary:
        # Bytes that are no UTF-8 become surrogates, which no UTF-8 text contains: the row with them is known.
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline=None)
        row = 0
        try:
            while line := text.readline(_MOST):
                row += 1
                if len(line) == _MOST:
                    raise UserError(f"{where}, row {row}: found a line of {len(line):,} characters or more")
                if not line.isascii() and (bad := next((c for c in line if "\udc80" <= c <= "\udcff"), None)):
                    found = f"byte {ord(bad) - 0xDC00:#04x}"
                    raise UserError(f"{where}, row {row}: found {found}, expected: text in UTF-8")
                if line.strip(", \t\n"):
                    yield row, line
        except BROKEN as error:
            raise UserError(f"{where}: cannot be read: {one_line(error)}") from None


def cells(line: str, expected: int) -> list[str]:
    """Split a line into its cells, without the white space around them.

    Raises:
        Refused: `bad_row` if the quotes do not match or there are more or fewer cells than `expected`.
    """
    if len(line) > _LONGEST:
        raise Refused.of("bad_row", f"a row of {len(line):,} characters", f"{_LONGEST:,}")
    try:
        found = _split(line.rstrip())
    except csv.Error as error:
        raise Refused("bad_row", f"not a CSV row: {error}") from None
    if " " in line or "\t" in line:
        found = [cell.strip() for cell in found]
    if len(found) != expected:
        raise Refused("bad_row", f"found {len(found)} cells, expected: {expected}")
    return found


class Block(NamedTuple):
    """Some rows of a file, which can be checked all at once.

    Attributes:
        rows: their numbers, counted as `lines` does, int32.
        text: the lines, each with LF at its end, in UTF-8.
    """

    rows: np.ndarray
    text: bytes

    def lines(self) -> list[str]:
        """Return the lines one by one."""
        return self.text.decode().split("\n")[:-1]

    def columns(self, names: Sequence[str]) -> dict[str, pa.Array] | None:
        """Return the cells as `cells` would, but with the white space around them: ten times as fast.

        Returns:
            A column of text for each name, or None if a row has more or fewer cells, or its quotes do not match.
        """
        characters = np.frombuffer(self.text, np.uint8)
        quotes, ends = (np.flatnonzero(characters == ord(mark)) for mark in '"\n')
        if np.any(np.searchsorted(quotes, ends) % 2):  # a row with an odd number of them
            return None
        try:
            table = csv_of_arrow.read_csv(
                pa.py_buffer(self.text),
                # One chunk for each column.
                csv_of_arrow.ReadOptions(
                    column_names=list(names), use_threads=False, block_size=len(self.text) + 1
                ),
                csv_of_arrow.ParseOptions(newlines_in_values=False),
                csv_of_arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False),
            )
        except pa.ArrowInvalid:
            return None
        if len(table) != len(self.rows):
            return None
        return {name: column.chunk(0) for name, column in zip(names, table.columns, strict=True)}


def blocks(tree: Tree, place: str, after: int = 0) -> Iterator[Block]:
    """Yield what `lines` yields behind row `after`, in blocks.

    Raises:
        UserError: as `lines`.
    """
    row = 0
    for text in _plain_texts(tree, place):
        if text is None:
            break
        count = text.count(b"\n")
        skipped = min(max(after - row, 0), count)
        rows = np.arange(row + skipped + 1, row + count + 1, dtype=np.int32)
        row += count
        yield Block(rows, text.split(b"\n", skipped)[-1])
    else:
        return
    # From the first place on that is not plain, line by line.
    rest = ((number, line) for number, line in lines(tree, place) if number > max(row, after))
    for some in chunks(rest, _BLOCK_ROWS):
        numbers, texts = zip(*some, strict=True)
        text = "".join(line.rstrip("\n") + "\n" for line in texts).encode()
        yield Block(np.array(numbers, np.int32), text)


def _plain_texts(tree: Tree, place: str) -> Iterator[bytes | None]:
    """Yield a file in stretches of whole lines of plain ASCII; None, and no more, where there is another line."""
    held = b""
    with tree.open(place) as file:
        while True:
            try:
                data = file.read(_BLOCK_BYTES)
            except BROKEN:
                yield None  # `lines` says what is wrong
                return
            held += data if data or not held or held.endswith(b"\n") else b"\n"
            end = held.rfind(b"\n") + 1
            text, held = held[:end], held[end:]
            characters = np.frombuffer(b"\n" + text, np.uint8)
            first = characters[np.flatnonzero(characters[:-1] == ord("\n")) + 1]  # of each line
            odd = b"\r" in text or np.isin(first, list(b"\n, \t")).any()
            if odd or not text.isascii() or len(held) > _LONGEST:
                yield None
                return
            if text:
                yield text
            if not data:
                return


def header(tree: Tree, place: str, rows: Iterator[tuple[int, str]], expected: str) -> list[str]:
    """Take the header off `rows` and return its column names, without the white space around them.

    Raises:
        UserError: there is no header, it is longer than any row may be, or it names a column twice.
    """
    where = f"{tree.address}/{place}"
    _, line = next(rows, (0, ""))
    if not line:
        raise UserError(f"{where}: found an empty file, expected: a header with {expected}")
    try:
        if len(line) > _LONGEST:
            raise csv.Error(f"found {len(line):,} characters, allowed: {_LONGEST:,}")
        names = [cell.strip() for cell in _split(line)]
    except csv.Error as error:
        raise UserError(f"{where}: the header is not a CSV row ({error}), expected: {expected}") from None
    counts = Counter(name.lower() for name in names if name)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise UserError(
            f"{where}: found the column {', '.join(twice)[:200]} more than once in the first line, expected: a "
            f"header with {expected}"
        )
    return names


def _split(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    return next(csv.reader([line], strict=True, skipinitialspace=True))
