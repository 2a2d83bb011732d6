"""Rows of a label file that are about faces: an image may show several, and several rows may be about one face."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.intake.cell_table import PREFIX
from pipeline.intake.guards import Rejection
from pipeline.intake.landmarks import numbers
from pipeline.intake.listing import Listing

# What R, pandas, spreadsheets and databases write for a value that is not known; pandas reads the same texts so.
MISSING = {"#N/A", "<NA>", "N/A", "n/a", "NA", "NULL", "null", "NaN", "nan", "None"}


class FaceRow(NamedTuple):
    """A usable row of a label file; the fields are arguments of `Listing.add`."""

    file: str
    row: int
    place: str
    split: str | None
    group: str | None
    box: tuple[float, ...] | None
    label: str | None
    votes: tuple[int, ...] | None = None
    attributes: Mapping[str, str] | None = None


def corners_of(numbers: Sequence[float]) -> tuple[float, ...]:
    """Return the box of a face: x1, y1, x2, y2.

    Raises:
        Rejection: `bad_box` if these are not the corners of a box.
    """
    x1, y1, x2, y2 = numbers
    if not (math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2):
        found = ", ".join(f"{number:g}" for number in numbers)
        raise Rejection(
            "bad_box", f"found the box {found}, expected: x1, y1, x2, y2 with x1 < x2 and y1 < y2"
        )
    return x1, y1, x2, y2


def box_of(cell: Mapping[str, str]) -> tuple[float, ...] | None:
    """Return the box in the cells `x1`, `y1`, `x2`, `y2` of a row; None if a column is missing or all are empty.

    Raises:
        Rejection: as `corners_of`.
    """
    corners = [known(cell[name]) for name in ("x1", "y1", "x2", "y2") if name in cell]
    if len(corners) < 4 or not any(corners):
        return None
    found = numbers(corners)
    if any(number != number for number in found):
        raise Rejection("bad_box", f"found the box {', '.join(corners)[:80]}, expected: four numbers")
    if max(found) <= 1:
        raise Rejection("bad_box", f"found the box {', '.join(corners)[:80]}, expected: pixels, not shares")
    return corners_of(found)


def group_of(cell: Mapping[str, str]) -> str | None:
    """Return the person in the cells of a row; None if not known. `3.0`, as pandas writes a number, is `3`."""
    text = known(cell.get("group", ""))
    whole, _, zeros = text.partition(".")
    return (whole if whole.isdecimal() and zeros and not zeros.strip("0") else text) or None


def attributes_of(cell: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a person in the cells of a row, without those that are not known."""
    return {
        name.removeprefix(PREFIX): text
        for name, cell_text in cell.items()
        if name.startswith(PREFIX) and (text := known(cell_text))
    }


def known(text: str) -> str:
    """Return a cell's text; an empty one if it says that the value is not known."""
    return "" if text in MISSING else text


def add_faces(listing: Listing, rows: Iterable[FaceRow], name: Callable[[str], str] = str) -> None:
    """Add the faces in images, and reject the rows that disagree about a face.

    Args:
        listing: takes them. A row that repeats an earlier one is rejected when its records are iterated.
        rows: of any images.
        name: returns the name of the record of an image at a place. It is brought into Unicode's composed form;
            `#<x1>,<y1>,<x2>,<y2>` is added if the image shows several faces.
    """
    images = defaultdict(list)
    for row in rows:
        images[row.place].append(row)
    for place, of_image in images.items():
        _add_image(listing, unicodedata.normalize("NFC", name(place)), of_image)


def _add_image(listing: Listing, name: str, rows: Sequence[FaceRow]) -> None:
    """Add the faces in one image."""
    boxes = {row.box for row in rows}
    faces = defaultdict(list)
    for row in rows:
        # A row without a box could be about any face.
        faces[row.box if None not in boxes else None].append(row)
    for box, of_face in faces.items():
        if len({(row.label, row.votes) for row in of_face}) > 1:
            says = ", ".join(f"row {row.row} {row.label or 'has other votes'}" for row in of_face[:4])
            remedy = "; columns x1 y1 x2 y2 tell faces apart" if None in boxes else ""
            for row in of_face:
                why = Rejection("contradictory_label", f"rows of one face disagree: {says}{remedy}")
                listing.reject(row.file, row.row, row.place, why, row.place)
            continue
        corners = "#" + ",".join(f"{number:g}" for number in box) if box and len(faces) > 1 else ""
        for row in of_face:
            listing.add(
                name + corners,
                row.split,
                row.place,
                row.file,
                row.row,
                votes=row.votes,
                label=row.label,
                group=row.group,
                box=row.box,
                attributes=row.attributes,
            )
