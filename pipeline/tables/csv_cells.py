"""Write CSV files whose text stays text in a spreadsheet.

A spreadsheet takes a cell for a formula if it begins with `=`, `+`, `-`, `@`, a tab or a return, as the name of a
stranger's file may. Such text gets a `'` in front. It gets one behind a `;`, a tab or a line break too, which begin a
new cell in some spreadsheets. Numbers stay numbers.

Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from typing import IO

_FORMULA = re.compile(r"(^|[;\t\n])(?=[=+\-@\t\n])")


class Number(str):
    """A formatted number, which stays a number."""


def row_writer(file: IO[str]) -> Callable[[Iterable[object]], object]:
    """Return a function that writes a row of cells: text, numbers, or None for an empty cell."""
    writer = csv.writer(file, lineterminator="\n")
    return lambda cells: writer.writerow(map(_cell, cells))


def as_text(text: str) -> str:
    """Return text as it is written into a cell. What is so already stays as it is."""
    # The csv module of Python 3.11 does not quote a return.
    return _FORMULA.sub(r"\1'", text.replace("\r", "\n"))


def _cell(cell: object) -> object:
    return as_text(cell) if isinstance(cell, str) and not isinstance(cell, Number) else cell
