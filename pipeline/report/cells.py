"""Tables and their cells. A number keeps its source and its full precision beside its text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.core.errors import printable
from pipeline.core.progress import in_yaml
from pipeline.report.run import FinishedRun

# A file of metrics, and keys in it.
Address = Sequence[str]


class Number(NamedTuple):
    """A number in a file of metrics; `low` and `high` are the bounds of its interval, if it has one."""

    source: str
    value: float | int | None
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """The value as text: counts in full, fractions with four decimals."""
        return shown(self.value)


class Difference(NamedTuple):
    """A difference of two scores, with the bounds of its interval if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """The value with its sign."""
        return f"{self.value:+.4f}"


Cell = Number | Difference | str


@dataclass
class Table:
    """A table with a caption. The first cell of a row is its heading.

    `parts` names the part that each column belongs to, so that readers can select one; "" is always shown.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    parts: list[str] = field(default_factory=list)


def table(caption: str, columns: list[str], rows: Iterable[Iterable[Cell]]) -> Table | None:
    """Return a table; None if it has no rows."""
    cells = [list(row) for row in rows]
    return Table(caption, columns, cells) if cells else None


def number_table(
    run: FinishedRun, caption: str, columns: list[str], rows: Mapping[str, Sequence[Address]]
) -> Table | None:
    """Return a table of numbers at addresses in the metrics, by row; None if it has no rows."""
    return table(
        caption,
        columns,
        ([name, *(number(run, *address) for address in addresses)] for name, addresses in rows.items()),
    )


def counts(run: FinishedRun, caption: str, file: str, *keys: str) -> Table | None:
    """Return the counts in a block by name; None if there are none."""
    names = [name for name, value in run.block(file, *keys).items() if not isinstance(value, dict)]
    return number_table(run, caption, ["", "count"], {name: [(file, *keys, name)] for name in names})


def number(run: FinishedRun, file: str, *keys: str) -> Number:
    """Return the number at some keys, with its interval if there is one."""
    value = run.value(file, *keys)
    bounds = run.block(file, *keys[:-1], "interval", keys[-1])
    low, high = (bound if isinstance(bound := bounds.get(name), float) else None for name in ("low", "high"))
    return Number(f"{file}:{'.'.join(keys)}", value if is_number(value) else None, low, high)


def shown(value: Any) -> str:
    """Return a value in a file of metrics as text."""
    if value is None:
        return "–"
    if not is_number(value):
        return in_yaml(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def in_full(cell: Cell) -> str:
    """Return a cell as one line, with its interval if it has one. A * marks a difference whose interval excludes 0."""
    if isinstance(cell, str):
        return printable(cell)
    if cell.low is None or cell.high is None:
        return cell.text
    if isinstance(cell, Number):
        return f"{cell.text} [{cell.low:.4f}, {cell.high:.4f}]"
    clear = " *" if cell.low > 0 or cell.high < 0 else ""
    return f"{cell.text} [{cell.low:+.4f}, {cell.high:+.4f}]{clear}"


def is_number(value: Any) -> bool:
    """Return whether a value in a file of metrics is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
