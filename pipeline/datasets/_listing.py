"""What an adapter hands over: the records of a data set, the rows it had to refuse, and what it noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import SPLITS, VOTES

# Nine digits fit the table's 32-bit columns, and no crowd is larger.
_MOST_DIGITS = 9
# Rows that are held as Python objects before they are packed: a listing of millions stays small.
_PACK = 4096

_SHORT = pa.dictionary(pa.int16(), pa.string())
_RECORDS = pa.schema(
    [
        ("name", pa.string()),
        ("split", pa.int8()),
        ("place", pa.string()),
        ("file", _SHORT),
        ("row", pa.int32()),
        ("votes", pa.list_(pa.int32(), len(VOTES))),
        ("label", _SHORT),
        ("group", pa.string()),
    ]
)


class Refused(Exception):
    """One record cannot be used.

    Args:
        reason: a word of the metrics, in snake_case: `missing_image`, `bad_votes`.
        detail: for a person: what was found and what is allowed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Rejected(NamedTuple):
    """A row that could not be used; the columns are `schema.REJECTED`."""

    file: str
    row: int
    record: str
    reason: str
    detail: str


class Listing:
    """All rows of a data set, each once: as a record, whose picture is read later, or as a rejected row.

    Args:
        read: returns the encoded picture at a place, or raises `Refused`. It is called once for each record, in
            another process, so it must survive pickling.
        draw: splits that the data set does not publish, to be drawn from its training pictures.
        keep_repeats: whether a second row with the name, split and votes of an earlier one is a record of its
            own, `<name>-row<N>`, instead of a rejected row.

    Attributes:
        rejected: the rows refused.
        notes: what else a user should know, for the metrics: counts, or a few words.
    """

    def __init__(
        self, read: Callable[[str], bytes], draw: Sequence[str] = (), *, keep_repeats: bool = False
    ) -> None:
        self.read, self.keep_repeats = read, keep_repeats
        self.draw = tuple(draw)
        self.rejected: list[Rejected] = []
        self.notes: dict[str, Any] = {}
        self._packed: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []

    def add(
        self,
        name: str,
        split: str | None,
        place: str,
        file: str,
        row: int,
        *,
        votes: tuple[int, ...] | None = None,
        label: str | None = None,
        group: str | None = None,
    ) -> None:
        """Add a record.

        Args:
            name: the record's id is `<dataset>/<name>`; the second record of a name is rejected.
            split: `train`, `valid`, `test`, or None where the data set publishes none.
            place: where `read` finds the picture.
            file: the file that holds the record's row, relative to the data set's folder.
            row: as a spreadsheet counts, from 1; 0 if the file itself is the record.
            votes: annotators per entry of `schema.VOTES`, or None where the data set has single labels.
            label: an entry of `schema.VOTES`, or None where the data set has votes.
            group: the person or subject in the picture, if known.
        """
        index = None if split is None else SPLITS.index(split)
        self._rows.append((name, index, place, file, row, votes, label, group))
        if len(self._rows) == _PACK:
            self._pack()

    def reject(self, file: str, row: int, record: str, why: Refused) -> None:
        """Add a row that cannot be used; `record` is what is known of its name."""
        self.rejected.append(Rejected(file, row, record[:80], why.reason, why.detail))

    def settle(self) -> None:
        """Sort the records by name and see to names that occur twice; nothing can be added afterwards."""
        if self._rows:
            self._pack()
        # Column by column, so that the packed and the joined form of all of them are never there together.
        table = pa.Table.from_batches(self._packed, _RECORDS).unify_dictionaries()
        self._packed.clear()
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        del table
        self._order = pc.sort_indices(
            columns["name"]
        )  # stable: of equal names the first one added comes first
        names = columns["name"].take(self._order)
        if len(names) > 1 and pc.any(same := pc.equal(names[1:], names[:-1])).as_py():
            self._repeats(columns, pc.indices_nonzero(same).to_pylist())
        self._columns = columns

    def __len__(self) -> int:
        return len(self._order)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the settled records, sorted by name, at most so many at a time; columns as arguments of `add`."""
        for start in range(0, len(self._order), rows):
            chosen = self._order.slice(start, rows)
            yield pa.record_batch([self._columns[n].take(chosen) for n in _RECORDS.names], schema=_RECORDS)

    def _repeats(self, columns: dict[str, pa.Array], places: list[int]) -> None:
        """Reject or rename the records at these places and the ones after; `_order` and `name` change."""
        order = self._order.to_pylist()
        names: dict[int, str] = {}
        first: dict[int, int] = {}
        for place in places:
            first[place + 1] = first.get(place, place)
        gone = set()
        for place, origin in first.items():
            kept, row = (
                {name: columns[name][order[at]].as_py() for name in _RECORDS.names} for at in (origin, place)
            )
            same = all(kept[name] == row[name] for name in ("split", "votes", "label"))
            if self.keep_repeats and same:
                names[order[place]] = f"{row['name']}-row{row['row']}"
                continue
            detail = f"{kept['file']}, row {kept['row']} has the same name"
            if self.keep_repeats:
                detail += " and other votes"
            self.reject(row["file"], row["row"], row["name"], Refused("duplicate_name", detail))
            gone.add(place)
        self._order = pa.array([at for place, at in enumerate(order) if place not in gone], pa.uint64())
        if names:
            chosen = sorted(names)
            mask = np.zeros(len(columns["name"]), bool)
            mask[chosen] = True
            columns["name"] = pc.replace_with_mask(
                columns["name"], pa.array(mask), pa.array([names[i] for i in chosen])
            )

    def _pack(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, _RECORDS.types, strict=True)]
        self._packed.append(pa.record_batch(arrays, schema=_RECORDS))
        self._rows.clear()


@lru_cache(2**14)  # few of all possible votes ever occur
def votes_of(names: tuple[str, ...], cells: tuple[str, ...]) -> tuple[int, ...]:
    """Return the votes in the order of `schema.VOTES`; an entry without a cell has none.

    Args:
        names: vocabulary entry of each cell.
        cells: text of each cell, without white space around it.

    Raises:
        Refused: `bad_votes` for anything but whole numbers from 0, `no_votes` if nobody voted.
    """
    digits = "".join(cells)
    if not (digits.isascii() and digits.isdecimal() and all(cells) and max(map(len, cells)) <= _MOST_DIGITS):
        for name, text in zip(names, cells, strict=True):
            if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
                allowed = f"whole numbers from 0, of at most {_MOST_DIGITS} digits"
                raise Refused("bad_votes", f"{name}: found {text[:40]!r}, allowed: {allowed}")
    if names == VOTES:
        votes = tuple(map(int, cells))
    else:
        given = dict(zip(names, map(int, cells), strict=True))
        votes = tuple(given.get(name, 0) for name in VOTES)
    if not any(votes):
        raise Refused("no_votes", f"found 0 votes for all of {', '.join(names)}, allowed: at least one vote")
    return votes
