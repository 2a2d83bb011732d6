"""facial_expressions (public repository of that name, Apache-2.0): portraits labelled by five people.

    data/raw/facial_expressions/
        data/legend.csv    user.id,image,emotion
        images/            Aaron_Peirsol_0001.jpg ...

Labels are in upper or lower case. No splits are published: valid and test are drawn. The file's name begins with the
person's name, which is the group, so no person is in two splits. Some images have two rows, by two people. If they
agree, the first row is the record and the second is rejected as `duplicate_row`. If not, all rows of the image are
rejected as `contradictory_label`. An image without a row is rejected as `no_label`.

An id is `facial_expressions/<file name>`.
"""

from __future__ import annotations

import re

from pipeline.intake.cell_table import CellTable
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

LEGEND = "data/legend.csv"
IMAGES = "images"
_PERSON = re.compile(r"(.+)_\d+\.\w+")
_NO_PERSON = "facial-expressions"  # four files are named after the repository


def records(tree: Tree, options: Options) -> Listing:
    """List `data/legend.csv`, and reject the images that it does not name.

    Raises:
        UserError: the tree has another layout, or the CSV file lacks a column.
    """
    if not tree.has(LEGEND) or f"{IMAGES}/" not in tree.entries():
        raise wrong_tree(tree, f"{LEGEND} and the folder {IMAGES}/")
    table = CellTable(tree, LEGEND, "user.id, image, emotion")
    image_column, emotion_column = (table.required(name) for name in ("image", "label"))

    listing = Listing(tree.read, ("valid", "test"))
    labels: dict[str, list[tuple[int, str]]] = {}  # row and label by image
    for row, line, cells in table.rows():
        image = line.strip()
        try:
            if isinstance(cells, Rejection):
                raise cells
            image = cells[image_column]
            if not image or "/" in image or image in (".", ".."):
                raise Rejection("bad_image_name", f"found {image[:80]!r}, expected: a file name in {IMAGES}/")
            labels.setdefault(image, []).append((row, options.names.label(cells[emotion_column])))
        except Rejection as why:
            listing.reject(LEGEND, row, image, why)
            labels.setdefault(image, [])
    for image, image_labels in labels.items():
        _add(listing, image, image_labels)
    for place in tree.files(IMAGES):
        if place.removeprefix(f"{IMAGES}/") not in labels:
            listing.reject(place, 0, place, Rejection("no_label", f"{LEGEND} has no row for this image"))
    return listing


def _add(listing: Listing, image: str, labels: list[tuple[int, str]]) -> None:
    """Add an image, or reject its rows.

    Args:
        listing: takes them.
        image: the file's name.
        labels: the rows of the image and their labels.
    """
    if len({label for _, label in labels}) > 1:
        detail = ", ".join(f"row {row} says {label}" for row, label in labels)
        for row, _ in labels:
            listing.reject(LEGEND, row, image, Rejection("contradictory_label", detail))
        return
    for index, (row, label) in enumerate(labels):
        if index == 0:
            person = _PERSON.fullmatch(image)
            group = person[1] if person and person[1] != _NO_PERSON else None
            listing.add(image, None, f"{IMAGES}/{image}", LEGEND, row, label=label, group=group)
        else:
            why = Rejection("duplicate_row", f"row {labels[0][0]} has the same image and label")
            listing.reject(LEGEND, row, image, why)
