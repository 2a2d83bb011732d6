"""What an adapter hands over: the records of a data set, the rows it had to refuse, and what it noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.schema import VOTES

# Nine digits fit the table's 32-bit columns, and no crowd is larger.
_MOST_DIGITS = 9


class Refused(Exception):
    """One record cannot be used.

    Args:
        reason: a word of the metrics, in snake_case: `missing_image`, `bad_votes`.
        detail: for a person: what was found and what is allowed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and what its data set says about it.

    Attributes:
        name: unique in the data set; the record's id is `<dataset>/<name>`.
        split: `train`, `valid` or `test`.
        image: returns the encoded picture, or raises `Refused`. Called once, from a worker thread, so that a
            data set of any size is listed before a single picture is read.
        file: the file that holds the record's row, relative to the data set's folder.
        row: as a spreadsheet counts, from 1.
        votes: annotators per entry of `schema.VOTES`, or None where the data set has single labels.
        label: an entry of `schema.VOTES`, or None where the data set has votes.
        group: the person or subject in the picture, if known.
    """

    name: str
    split: str
    image: Callable[[], bytes]
    file: str
    row: int
    votes: tuple[int, ...] | None = None
    label: str | None = None
    group: str | None = None

    @property
    def source(self) -> str:
        """Where the record came from: `labels.csv, row 17`."""
        return f"{self.file}, row {self.row}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be used; the columns are `schema.REJECTED`."""

    file: str
    row: int
    record: str
    reason: str
    detail: str


@dataclass(slots=True)
class Listing:
    """All rows of a data set, each once: in `records` or in `rejected`.

    Attributes:
        notes: what else a user should know, for the metrics: counts, or a few words.
    """

    records: list[Record] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


def votes_of(cells: Mapping[str, str]) -> tuple[int, ...]:
    """Return the votes in the order of `schema.VOTES`; an entry without a cell has none.

    Args:
        cells: text of a cell by vocabulary entry.

    Raises:
        Refused: `bad_votes` for anything but whole numbers from 0, `no_votes` if nobody voted.
    """
    for name, text in cells.items():
        digits = text.strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS):
            raise Refused("bad_votes", f"{name}: found {text[:40]!r}, allowed: whole numbers from 0")
    votes = tuple(int(cells.get(name, 0)) for name in VOTES)
    if not any(votes):
        raise Refused("no_votes", f"found 0 votes for all of {', '.join(cells)}, allowed: at least one vote")
    return votes
