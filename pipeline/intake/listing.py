"""What an adapter hands over: the records of a data set, the rows it had to refuse, and what it noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import mismatch, printable
from pipeline.intake.packed import PACK, Packed
from pipeline.tables.schema import SPLITS, VOTES

# Nine digits fit the table's 32-bit columns, and no crowd is larger.
_MOST_DIGITS = 9

_SHORT = pa.dictionary(pa.int16(), pa.string())
_LONG = pa.dictionary(pa.int32(), pa.string())  # where each record may have a file of its own
_RECORDS = pa.schema(
    [
        ("name", pa.string()),
        ("split", pa.int8()),
        ("before", _LONG),  # what stands before the name in the picture's place
        # And behind it; null where the place does not hold the name, and is all in `before`.
        ("behind", _LONG),
        ("file", _LONG),
        ("row", pa.int32()),
        ("votes", pa.int32()),  # which of the votes that occur
        ("label", _SHORT),
        ("group", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("landmarks", pa.list_(pa.float32())),
    ]
)
_REJECTED = pa.schema(
    [
        ("file", _LONG),
        ("row", pa.int32()),
        ("record", pa.string()),
        ("reason", _SHORT),
        ("detail", pa.string()),
    ]
)


class Refused(Exception):
    """One record cannot be used.

    Args:
        reason: a word of the metrics, in snake_case: `missing_image`, `bad_votes`.
        detail: for a person: what was found and what is allowed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, printable(detail)
        super().__init__(self.detail)

    @classmethod
    def of(cls, reason: str, found: object, allowed: str | Iterable[str]) -> Refused:
        """Return the refusal of a value that is not allowed."""
        return cls(reason, mismatch(found, allowed))


class Rejected(NamedTuple):
    """A row that could not be used, as it stands in `data/ingested/<dataset>.rejected.csv`."""

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
        beside: what the adapter compares with the records, a step at a time, while others read the pictures; it
            may still reject rows and make notes.
    """

    def __init__(
        self, read: Callable[[str], bytes], draw: Sequence[str] = (), *, keep_repeats: bool = False
    ) -> None:
        self.read, self.keep_repeats = read, keep_repeats
        self.draw = tuple(draw)
        self.rejected = Rejections()
        self.notes: dict[str, Any] = {}
        self.beside: Iterator[None] = iter(())
        self._records = Packed(_RECORDS)
        self._votes: dict[tuple[int, ...], int] = {}  # few of all possible votes ever occur

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
        box: Sequence[float] | None = None,
        landmarks: Sequence[float] | None = None,
    ) -> None:
        """Add a record, or reject it if its name is no text: `bad_image_name`.

        Args:
            name: the record's id is `<dataset>/<name>`; the second record of a name is rejected.
            split: `train`, `valid`, `test`, or None where the data set publishes none.
            place: where `read` finds the picture.
            file: the file that holds the record's row, relative to the data set's folder.
            row: as a spreadsheet counts, from 1; 0 if the file itself is the record.
            votes: annotators per entry of `schema.VOTES`, or None where the data set has single labels.
            label: an entry of `schema.VOTES`, or None where the data set has votes.
            group: the person or subject in the picture, if known.
            box: of the face, x1, y1, x2, y2 in pixels, if the data set gives one. Any numbers will do, NaN for
                what is none: boxes and landmarks are compared with the picture when it is read.
            landmarks: of the face, five x, y in pixels in the order of `_landmarks.as_seen`, likewise.
        """
        if not name.isprintable() and printable(name) != name:
            found, allowed = printable(name)[:80], "names in UTF-8 without control characters"
            return self.reject(file, row, name, Refused.of("bad_image_name", found, allowed))
        split_index = None if split is None else SPLITS.index(split)
        votes_index = None if votes is None else self._votes.setdefault(votes, len(self._votes))
        before, found, behind = place.partition(name)
        where = (before, behind) if found else (place, None)
        self._records.append(
            (name, split_index, *where, file, row, votes_index, label, group, box, landmarks)
        )

    def extend(
        self,
        name: pa.Array,
        split: str,
        before: str,
        behind: str,
        file: str,
        row: np.ndarray,
        votes: np.ndarray,
    ) -> None:
        """Add many records of one split at once.

        Args:
            name: as in `add`, one for each record.
            split: of all of them.
            before, behind: what stands before and behind each name in the picture's place.
            file: that holds all the rows.
            row: of each record.
            votes: int32 [N, V], in the order of `schema.VOTES`.
        """
        _, first, which = np.unique(mixed(votes), return_index=True, return_inverse=True)
        known = [self._votes.setdefault(some, len(self._votes)) for some in map(tuple, votes[first].tolist())]
        count = len(name)
        columns = {
            "name": name,
            "split": pa.array(np.full(count, SPLITS.index(split), np.int8)),
            "before": _repeated(before, count),
            "behind": _repeated(behind, count),
            "file": _repeated(file, count),
            "row": pa.array(row, pa.int32()),
            "votes": pa.array(np.array(known, np.int32)[which] if count else [], pa.int32()),
        }
        self._records.extend(count, columns)

    def reject(self, file: str, row: int, record: str, why: Refused) -> None:
        """Add a row that cannot be used; `record` is what is known of its name."""
        self.rejected.append(Rejected(printable(file), row, printable(record[:80]), why.reason, why.detail))

    def reject_all(self, batch: pa.RecordBatch, reason: pa.Array, detail: pa.Array) -> None:
        """Add records of a `batch`, whose names are texts, as rows that cannot be used, each with its `Refused`."""
        file = batch["file"].cast(pa.string())
        if not pc.all(pc.ascii_is_printable(file)).as_py():
            file = pa.array(map(printable, file.to_pylist()), pa.string())
        columns = {
            "file": file.dictionary_encode(),
            "row": batch["row"],
            "record": pc.utf8_slice_codeunits(batch["name"], 0, 80),
            "reason": reason.dictionary_encode().cast(_SHORT),
            "detail": detail,
        }
        self.rejected.extend(len(batch), columns)

    def settle(self) -> None:
        """Sort the records by name and see to names that occur twice; no record can be added afterwards."""
        self._columns = self._records.columns()
        self._known_votes = pa.array(list(self._votes), pa.list_(pa.int32(), len(VOTES)))
        # Of equal names the first row comes first.
        keys = pa.table({name: self._columns[name] for name in ("name", "row")})
        order = pc.sort_indices(keys, [("name", "ascending"), ("row", "ascending")])
        self._order = order.to_numpy().astype(np.uint32)
        del order
        self._renamed: dict[int, str] = {}  # by the record's number
        repeated = []
        for start in range(0, len(self), PACK):
            names = self._columns["name"].take(pa.array(self._order[start : start + PACK + 1]))
            same = pc.indices_nonzero(pc.equal(names[1:], names[:-1]))
            repeated += [start + place for place in same.to_pylist()]
        if repeated:
            self._repeats(self._columns, repeated)

    def __len__(self) -> int:
        return len(self._order)

    def batch(self, start: int, rows: int) -> pa.RecordBatch:
        """Return some of the settled records, which are sorted by name; columns as arguments of `add`."""
        chosen = self._order[start : start + rows]
        places = pa.array(chosen)
        columns = {}
        for field in _RECORDS:
            taken = self._columns[field.name].take(places)
            columns[field.name] = pa.nulls(len(taken), field.type) if taken.type == pa.null() else taken
        before, behind = (columns.pop(name).cast(pa.string()) for name in ("before", "behind"))
        inside = pc.binary_join_element_wise(before, columns["name"], behind, "")
        columns["place"] = pc.if_else(pc.is_valid(behind), inside, before)
        if renamed := [i for i, at in enumerate(chosen.tolist()) if at in self._renamed]:
            names = columns["name"].to_pylist()
            for index in renamed:
                names[index] = self._renamed[int(chosen[index])]
            columns["name"] = pa.array(names)
        for column, length in (("box", 4), ("landmarks", 10)):
            columns[column] = columns[column].cast(pa.list_(pa.float32(), length))
        return pa.record_batch(columns | {"votes": self._known_votes.take(columns["votes"])})

    def _repeats(self, columns: dict[str, pa.Array], places: list[int]) -> None:
        """Reject or rename the records after these places in the order."""
        first: dict[int, int] = {}
        for place in places:
            first[place + 1] = first.get(place, place)
        gone = []
        for place, origin in first.items():
            kept, row = (
                {name: columns[name][int(self._order[at])].as_py() for name in _RECORDS.names}
                for at in (origin, place)
            )
            same = all(kept[name] == row[name] for name in ("split", "votes", "label"))
            if self.keep_repeats and same:
                self._renamed[int(self._order[place])] = f"{row['name']}-row{row['row']}"
                continue
            detail = f"{kept['file']}, row {kept['row']} has the same name"
            if self.keep_repeats:
                detail += " and other votes"
            self.reject(row["file"], row["row"], row["name"], Refused("duplicate_name", detail))
            gone.append(place)
        self._order = np.delete(self._order, gone)


def _repeated(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


class Rejections(Packed):
    """The rows refused, as `Rejected`."""

    def __init__(self) -> None:
        super().__init__(_REJECTED)

    def __iter__(self) -> Iterator[Rejected]:
        return map(Rejected._make, super().__iter__())

    def reasons(self) -> dict[str, int]:
        """Return how many rows were refused for each reason, by name."""
        return dict(sorted(Counter(row.reason for row in self).items()))

    def ordered(self) -> Iterator[tuple[Any, ...]]:
        """Yield them by file and row, columns as `Rejected`, and forget them."""
        columns = self.columns()
        table = pa.table(columns | {"file": columns["file"].cast(pa.string())})
        order = pc.sort_indices(table, [(name, "ascending") for name in ("file", "row", "record")])
        for start in range(0, len(order), PACK):
            rows = table.take(order.slice(start, PACK)).columns
            yield from zip(*(column.to_pylist() for column in rows), strict=True)


_MIX = np.random.default_rng(0).integers(2**63, size=len(VOTES), dtype=np.uint64) * 2 + 1


def mixed(votes: np.ndarray) -> np.ndarray:
    """Return a hash of each row of votes [N, V], uint64 [N]."""
    return (votes.astype(np.uint64) * _MIX).sum(axis=1, dtype=np.uint64)


@lru_cache(2**12)  # few of all possible votes ever occur
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
        raise Refused.of("no_votes", f"0 votes for all of {', '.join(names)}", "at least one vote")
    return votes
