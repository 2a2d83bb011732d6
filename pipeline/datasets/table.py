"""Your own pictures: a folder and a CSV file. The embedded sample has the same form.

    data/raw/table/
        labels.csv
        images/        PNG, JPEG, BMP, GIF, WebP, TIFF or PPM, also in folders inside it

`labels.csv` is UTF-8, separated by commas, with a header. Its columns, in any order, in upper or lower case:

    image    path of the picture inside images/
    split    optional: train, valid (or val) or test; without this column the stage `label` draws valid and test
    group    optional: the person in the picture
    label    one of neutral happiness surprise sadness anger disgust fear contempt unknown NF, or an adjective (Happy)

Or, instead of `label`, one column per name with its number of votes: at least two classes. A missing column counts
as 0 votes. `unknown` is "cannot tell", `NF` is "no face".

An id is `table/<image>`, extension included, so that `a.png` and `a.jpg` are two pictures.
"""

from __future__ import annotations

import difflib
from pathlib import PurePosixPath

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.classes import CLASS_OF, SPLIT_OF
from pipeline.intake.guards import Rejection, leads_out
from pipeline.intake.listing import Listing, votes_of
from pipeline.intake.tree import Tree, wrong_tree
from pipeline.tables.vocabulary import CLASSES, SPLITS, VOTES

FILE = "labels.csv"
IMAGES = "images"
_VOCABULARY = {name.lower(): name for name in VOTES}
_LABELS = CLASS_OF | _VOCABULARY
_EXPECTED = f"image, and either label or vote columns ({', '.join(VOTES)})"


def records(tree: Tree) -> Listing:
    """List the rows of `labels.csv`.

    Raises:
        UserError: the file or the folder is missing, or the header lacks columns.
    """
    top = tree.entries()
    if FILE not in top or f"{IMAGES}/" not in top:
        raise wrong_tree(tree, f"{FILE} and the folder {IMAGES}/")
    rows = csv_rows.lines(tree, FILE)
    header = csv_rows.header(tree, FILE, rows, (), _EXPECTED)
    columns, ignored = _columns(f"{tree.address}/{FILE}", header)

    listing = Listing(tree.read, () if "split" in columns else ("valid", "test"))
    named = set[str]()
    for row, line in rows:
        name = line.strip()[:80]
        try:
            cells = csv_rows.cells(line, len(header))
            cell = {column: text for column, text in zip(columns, cells, strict=True) if column}
            name = cell["image"]
            named.add(str(PurePosixPath(name)))
            _add(listing, row, cell)
        except Rejection as why:
            listing.reject(FILE, row, name, why)
    if ignored:
        listing.notes["ignored_columns"] = ", ".join(ignored)
    places = (place.removeprefix(f"{IMAGES}/") for place in tree.files(IMAGES))
    listing.notes["images_without_row"] = sum(place not in named for place in places)
    return listing


def _columns(path: str, header: list[str]) -> tuple[list[str], list[str]]:
    """Return the canonical name of each column, "" for an unused one, and the names of the unused ones."""
    known = {"image": "image", "split": "split", "group": "group", "label": "label", **_VOCABULARY}
    columns = [known.get(name.lower(), "") for name in header]
    ignored = [name for name, column in zip(header, columns, strict=True) if name and not column]
    found = ", ".join(header)[:200]
    for name in ignored:
        # Ignoring a misspelt column of votes would change labels.
        if close := difflib.get_close_matches(name.lower(), known, 1, cutoff=0.8):
            raise UserError(f"{path}: found the column {name}, did you mean {known[close[0]]}?")
    classes = sum(name in CLASSES for name in columns)
    votes = sum(name in VOTES for name in columns)
    if "image" not in columns or (votes == 0 and "label" not in columns):
        raise UserError(f"{path}: found the columns {found}, expected: {_EXPECTED}")
    if votes and "label" in columns:
        raise UserError(f"{path}: found both label and vote columns ({found}), expected: one or the other")
    if votes and classes < 2:
        raise UserError(
            f"{path}: found votes for {classes} class ({found}), expected: at least 2 of {CLASSES}"
        )
    return columns, ignored


def _add(listing: Listing, row: int, cell: dict[str, str]) -> None:
    name, split = _inside(cell["image"]), SPLIT_OF.get(cell.get("split", "").lower())
    if "split" in cell and split is None:
        raise Rejection.of("bad_split", repr(cell["split"][:40]), SPLITS)
    votes = label = None
    if "label" in cell:
        label = _LABELS.get(cell["label"].lower())
        if label is None:
            raise Rejection.of("unknown_label", repr(cell["label"][:40]), VOTES)
    else:
        names = tuple(column for column in cell if column in VOTES)
        votes = votes_of(names, tuple(cell[column] for column in names))
    group = cell.get("group") or None
    listing.add(name, split, f"{IMAGES}/{name}", FILE, row, votes=votes, label=label, group=group)


def _inside(text: str) -> str:
    """Return the path of a picture inside `images/` in its shortest form."""
    path = PurePosixPath(text)
    if not path.name and not leads_out(text):
        raise Rejection("no_image_name", f"found {text!r}, expected: the path of a picture in {IMAGES}/")
    if leads_out(text):
        raise Rejection.of("outside_folder", repr(text[:80]), f"paths inside {IMAGES}/")
    return str(path)
