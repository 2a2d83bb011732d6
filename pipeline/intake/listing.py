"""Collect the records of a data set, its rejected rows, and notes for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import printable
from pipeline.intake.guards import Rejection
from pipeline.tables.vocabulary import DRAWN, VOTES

# Nine digits fit the table's 32-bit columns, and no crowd is larger.
_MOST_DIGITS = 9
# Characters of an attribute's value. Longer ones are no groups of people.
_LONGEST_VALUE = 80
# Records that are Python objects before they are packed into Arrow columns, which take a fifth of the memory.
_PACK = 4096
_RECORDS = pa.schema(
    [
        ("name", pa.string()),
        ("split", pa.string()),
        ("place", pa.string()),
        ("file", pa.string()),
        ("row", pa.int32()),
        ("votes", pa.list_(pa.int32())),
        ("label", pa.string()),
        ("group", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("landmarks", pa.list_(pa.float32())),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


class Record(NamedTuple):
    """A row of a data set whose image is yet to be read; the fields are the arguments of `Listing.add`."""

    name: str
    split: str | None
    place: str
    file: str
    row: int
    votes: Sequence[int] | None
    label: str | None
    group: str | None
    box: Sequence[float] | None
    landmarks: Sequence[float] | None
    attributes: Mapping[str, str] | None


class RejectedRow(NamedTuple):
    """A row of `data/ingested/<dataset>.rejected.csv`."""

    file: str
    row: int
    record: str
    reason: str
    detail: str


class Listing:
    """All rows of a data set, each of them once: as a record or as a rejected row.

    Iterating yields the records in the order of their names. A second record of a name is rejected then.

    Args:
        read: returns the encoded image at a place, or raises `Rejection`. It is called for each record in another
            process, so it must survive pickling, and for large images once more.
        draw: splits that the data set does not publish; `label` draws them from the training images.
        vocabulary: names that an annotator can vote for, in the order of the records' votes.
        keep_repeats: whether a record with the name, split, votes and label of an earlier one is kept under the
            name `<name>-row<N>`.
        face_boxes: unit of the boxes, `pixels` or `shares` of the image's width and height, if a box says which face
            a record is about. None: boxes are in pixels and are not needed.
        keep_flat: whether images without contrast are kept, as the published counts include them.

    Attributes:
        rejected: the rejected rows.
        expected: number of rejected rows by reason that the data set is published with. They are no sign of a mistake.
        notes: what else a user should know, for the metrics: counts, or a few words.
    """

    def __init__(
        self,
        read: Callable[[str], bytes],
        draw: Sequence[str] = (),
        *,
        vocabulary: Sequence[str] = VOTES,
        keep_repeats: bool = False,
        keep_flat: bool = False,
        face_boxes: Literal["pixels", "shares"] | None = None,
    ) -> None:
        self.read, self.draw = read, tuple(draw)
        self.keep_repeats, self.keep_flat, self.face_boxes = keep_repeats, keep_flat, face_boxes
        self._voted, self._labels = tuple(vocabulary), set[str]()
        self.rejected: list[RejectedRow] = []
        self.expected: Counter[str] = Counter()
        self.notes: dict[str, Any] = {}
        self._waiting: list[Record] = []
        self._packed: list[pa.RecordBatch] = []
        self._used: set[str] = set()

    def add(
        self,
        name: str,
        split: str | None,
        place: str,
        file: str,
        row: int,
        *,
        votes: Sequence[int] | None = None,
        label: str | None = None,
        group: str | None = None,
        box: Sequence[float] | None = None,
        landmarks: Sequence[float] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Add a record, or reject it.

        It is rejected as `bad_image_name` if its name has control characters or is not UTF-8, and as `bad_attribute` if
        the value of an attribute does, or has more than 80 characters.

        Args:
            name: the record's id is `<dataset>/<name>`.
            split: `train`, `valid`, `test`, or None if the data set does not publish it.
            place: where `read` finds the image.
            file: the file that holds the record's row, relative to the data set's folder.
            row: its number as in a spreadsheet, from 1; 0 if the file itself is the record.
            votes: annotators per name in the vocabulary, or None if the data set has single labels.
            label: a class name, `unknown` or `NF`, or None if the data set has votes.
            group: the person in the image, if known.
            box: of the face, x1, y1, x2, y2, if the data set gives one; see `face_boxes`. Any numbers are allowed, NaN
                included: `ingest` drops a box that does not lie in the image or, if it is needed, rejects the record.
            landmarks: of the face, five times x, y in pixels in the order of `landmarks.as_seen`, likewise.
            attributes: of the person in the image, in words by name: `{"gender": "female", "age": "20-39"}`. What
                is not known is left out; None if nothing is.
        """
        if printable(name) != name or printable(place) != place:
            allowed = "names in UTF-8 without control characters"
            return self.reject(file, row, name, Rejection.of("bad_image_name", printable(name)[:80], allowed))
        for attribute, value in (attributes or {}).items():
            if printable(value) != value or len(value) > _LONGEST_VALUE:
                found = f"{printable(value)[:80]!r} for {printable(attribute)[:80]}"
                allowed = f"at most {_LONGEST_VALUE} characters in UTF-8 without control characters"
                return self.reject(file, row, name, Rejection.of("bad_attribute", found, allowed), place)
        if label is not None:
            self._labels.add(label)
        self._waiting.append(
            Record(name, split, place, file, row, votes, label, group, box, landmarks, attributes or None)
        )
        if len(self._waiting) == _PACK:
            self._pack()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Return the names that an annotator can vote for, then the other labels of the records, sorted."""
        return (*self._voted, *sorted(self._labels.difference(self._voted)))

    def reject(self, file: str, row: int, name: str, why: Rejection, place: str = "") -> None:
        """Add a row that cannot be used.

        Args:
            file: as for `add`.
            row: as for `add`.
            name: what is known of the record's name.
            why: the reason.
            place: of the row's image, if it is known.
        """
        record = RejectedRow(printable(file), row, printable(name[:80]), why.reason, why.detail)
        self.rejected.append(record)
        self._used |= {file, place}

    def uses(self, place: str) -> None:
        """Count a file as read, although no record is about it: it describes the data set."""
        self._used.add(place)

    def counts(self) -> Counter[tuple[str | None, str | None]]:
        """Return the number of records by split and label."""
        self._pack()
        columns = ((batch["split"].to_pylist(), batch["label"].to_pylist()) for batch in self._packed)
        return Counter(pair for splits, labels in columns for pair in zip(splits, labels, strict=True))

    def votes(self) -> dict[str, int]:
        """Return the number of votes for each name that has any, over all records."""
        self._pack()
        rows = (votes for batch in self._packed for votes in batch["votes"].to_pylist() if votes)
        totals = [sum(column) for column in zip(*rows, strict=True)] or [0] * len(self._voted)
        return {name: total for name, total in zip(self._voted, totals, strict=True) if total}

    def draw_others(self) -> None:
        """Have `label` draw valid and test, unless a record is in them."""
        published = {split for split, _ in self.counts()}
        self.draw = tuple(split for split in DRAWN if split not in published)

    def reasons(self) -> Counter[str]:
        """Return the number of rejected rows by reason."""
        return Counter(row.reason for row in self.rejected)

    def too_many_rejected(self, kept: int, missing: int = 0) -> str:
        """Return `<rejected> of <all> records` if more than a tenth is rejected; "" if not.

        Rows that are `expected` to be rejected do not count.

        Args:
            kept: number of records that are not rejected.
            missing: number of records that will be rejected, as their images are not there.
        """
        rejected = (self.reasons() - self.expected).total() + missing
        total = kept + rejected
        return f"{rejected:,} of {total:,} records" if 10 * rejected > total else ""

    def places(self) -> list[str]:
        """Return where the images of the records are."""
        self._pack()
        return [place for batch in self._packed for place in batch["place"].to_pylist()]

    def used(self) -> set[str]:
        """Return the places of the files that records and rejected rows are about."""
        self._pack()
        of_records = (batch[column].to_pylist() for batch in self._packed for column in ("place", "file"))
        return self._used.union(*of_records)

    def shared(self) -> set[str]:
        """Return the places of the images with several records that have boxes."""
        self._pack()
        boxed = pa.Table.from_batches(self._packed, _RECORDS).filter(pc.field("box").is_valid())
        names = boxed.group_by("place").aggregate([("name", "count_distinct")])
        return set(names.filter(pc.field("name_count_distinct") > 1)["place"].to_pylist())

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._packed))

    def __iter__(self) -> Iterator[Record]:
        self._pack()
        # The sort is stable: of records with one name, the one that was added first comes first.
        table = pa.Table.from_batches(self._packed, _RECORDS).sort_by("name")
        first = None
        for batch in table.to_batches(_PACK):
            columns = batch.to_pydict()
            columns["attributes"] = [pairs and dict(pairs) for pairs in columns["attributes"]]
            for record in map(Record._make, zip(*columns.values(), strict=True)):
                if first is None or record.name != first.name:
                    first = record
                    yield record
                elif self.keep_repeats and all(
                    getattr(record, field) == getattr(first, field) for field in ("split", "votes", "label")
                ):
                    yield record._replace(name=f"{record.name}-row{record.row}")
                else:
                    detail = f"{first.file}, row {first.row} has the same name"
                    if record.split != first.split:
                        detail += f" in the split {first.split or 'to be drawn'}, this one in {record.split or 'none'}"
                    detail += " and other votes" * self.keep_repeats
                    self.reject(record.file, record.row, record.name, Rejection("duplicate_name", detail))

    def _pack(self) -> None:
        columns = zip(*self._waiting, strict=True) if self._waiting else [[]] * len(_RECORDS)
        arrays = map(pa.array, columns, _RECORDS.types)
        self._packed.append(pa.record_batch(list(arrays), schema=_RECORDS))
        self._waiting.clear()


@lru_cache(2**12)  # few of all possible votes ever occur
def votes_of(
    names: tuple[str, ...], cells: tuple[str, ...], vocabulary: tuple[str, ...] = VOTES
) -> tuple[int, ...]:
    """Return the votes in the order of the vocabulary; a name without a cell has none.

    Args:
        names: name in the vocabulary for each cell.
        cells: text of each cell, without white space around it.
        vocabulary: of the listing.

    Raises:
        Rejection: `bad_votes` for anything but whole numbers from 0, `no_votes` if nobody voted.
    """
    votes = dict.fromkeys(vocabulary, 0)
    for name, text in zip(names, cells, strict=True):
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            allowed = f"whole numbers from 0, of at most {_MOST_DIGITS} digits"
            raise Rejection("bad_votes", f"{name}: found {text[:40]!r}, allowed: {allowed}")
        votes[name] = int(text)
    if not any(votes.values()):
        raise Rejection.of("no_votes", f"0 votes for all of {', '.join(names)}", "at least one vote")
    return tuple(votes.values())
