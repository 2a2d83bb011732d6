"""What tables are made of. A number keeps the place it comes from and its full precision beside what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.core.progress import in_yaml
from pipeline.report.collect import Run


class Number(NamedTuple):
    """A value of a file of metrics; `low` and `high` are the ends of its interval, if it has one."""

    source: str
    value: float | int | None
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """The value as it is read: counts in full, fractions with four digits behind the point."""
        return shown(self.value)


Cell = Number | str


@dataclass
class Table:
    """A table with a caption; the first cell of a row is its heading.

    `parts` names what each column belongs to, for those who look at one part at a time; "" is shown with all of them.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    parts: list[str] = field(default_factory=list)


def shown(value: Any) -> str:
    """Return a value of a file of metrics as text."""
    if value is None:
        return "–"
    if not is_number(value):
        return in_yaml(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def number(run: Run, file: str, *keys: str) -> Number:
    """Return the number at some keys, with the interval beside it if there is one."""
    value = run.of(file, *keys)
    ends = run.block(file, *keys[:-1], "interval", keys[-1])
    low, high = (end if isinstance(end := ends.get(name), float) else None for name in ("low", "high"))
    return Number(f"{file}:{'.'.join(keys)}", value if is_number(value) else None, low, high)


def counts(run: Run, caption: str, file: str, *keys: str) -> Table | None:
    """Return the counts of a block by their names; None where there are none."""
    names = [name for name, value in run.block(file, *keys).items() if not isinstance(value, dict)]
    rows: list[list[Cell]] = [[name, number(run, file, *keys, name)] for name in names]
    return Table(caption, ["", "count"], rows) if rows else None


def is_number(value: Any) -> bool:
    """Return whether a value of a file of metrics is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
