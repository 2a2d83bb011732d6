"""facial_expressions (public repository of that name, Apache-2.0): portraits labelled by five people.

    data/raw/facial_expressions/
        data/legend.csv    user.id,image,emotion
        images/            Aaron_Peirsol_0001.jpg ...

Labels are spelled in both cases. No splits are published: valid and test are drawn, and as a file's name begins
with a person's, no person is in two of them. Some pictures have two rows, by two people: where they agree, the
first row is the record and the second is listed as `duplicate_row`; where they do not, all rows of the picture are
listed as `contradictory_label`. A picture without a row is listed as `no_label`.

A picture's id is `facial_expressions/<file name>`.
"""

from __future__ import annotations

import re

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.classes import class_name
from pipeline.intake.listing import Listing, Refused
from pipeline.intake.tree import Tree, wrong

LEGEND = "data/legend.csv"
IMAGES = "images"
_COLUMNS = ("user.id", "image", "emotion")
_PERSON = re.compile(r"(.+)_\d+\.\w+")
_NO_PERSON = "facial-expressions"  # four files are named after the repository


def records(tree: Tree) -> Listing:
    """List `data/legend.csv` and the pictures that it leaves out.

    Raises:
        UserError: the tree is another one, or the CSV lacks a column.
    """
    if not tree.has(LEGEND) or f"{IMAGES}/" not in tree.entries():
        raise wrong(tree, f"{LEGEND} and the folder {IMAGES}/")
    rows = csv_rows.lines(tree, LEGEND)
    header = csv_rows.header(tree, LEGEND, rows, ", ".join(_COLUMNS))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise UserError(
            f"{tree.address}/{LEGEND}: found no column {', '.join(missing)}, expected: {', '.join(_COLUMNS)}"
        )
    image_column, emotion_column = header.index("image"), header.index("emotion")

    listing = Listing(tree.read, ("valid", "test"))
    labels: dict[str, list[tuple[int, str]]] = {}  # row and label by image
    for row, line in rows:
        image = line.strip()
        try:
            cells = csv_rows.cells(line, len(header))
            image = cells[image_column]
            if not image or "/" in image or image in (".", ".."):
                raise Refused("bad_image_name", f"found {image[:80]!r}, expected: a file name in {IMAGES}/")
            labels.setdefault(image, []).append((row, class_name(cells[emotion_column])))
        except Refused as why:
            listing.reject(LEGEND, row, image, why)
            labels.setdefault(image, [])
    for image, given in labels.items():
        _add(listing, image, given)
    for place in tree.files(IMAGES):
        if place.removeprefix(f"{IMAGES}/") not in labels:
            listing.reject(place, 0, place, Refused("no_label", f"{LEGEND} has no row for this picture"))
    return listing


def _add(listing: Listing, image: str, given: list[tuple[int, str]]) -> None:
    """Add a picture with the rows that label it."""
    if len({label for _, label in given}) > 1:
        said = ", ".join(f"row {row} says {label}" for row, label in given)
        for row, _ in given:
            listing.reject(LEGEND, row, image, Refused("contradictory_label", said))
        return
    for index, (row, label) in enumerate(given):
        if index == 0:
            person = _PERSON.fullmatch(image)
            group = person[1] if person and person[1] != _NO_PERSON else None
            listing.add(image, None, f"{IMAGES}/{image}", LEGEND, row, label=label, group=group)
        else:
            why = Refused("duplicate_row", f"row {given[0][0]} has the same picture and label")
            listing.reject(LEGEND, row, image, why)
