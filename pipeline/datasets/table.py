"""Your own pictures: a folder and a CSV file. The embedded sample is written in the same form.

    data/raw/table/
        labels.csv
        images/        PNG, JPEG, BMP, GIF, WebP, TIFF or PPM, in sub-folders if you like

`labels.csv` is UTF-8, separated by commas, with a header. Columns, in any order and case:

    image    path of the picture inside images/
    split    train, valid or test
    group    optional: the person in the picture
    label    one of neutral happiness surprise sadness anger disgust fear contempt unknown NF

or, in the place of `label`, one column of votes for each of these names that anyone could vote for (at least
two classes; a column that is not there counts as 0). `unknown` is "cannot tell", `NF` is "no face".

A picture's id is `table/<image>`, with its extension, so that `a.png` and `a.jpg` can stand side by side.
"""

from __future__ import annotations

import difflib
import os
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.datasets import _csv, _image
from pipeline.datasets._record import Listing, Record, Refused, Rejected, votes_of
from pipeline.errors import UserError
from pipeline.schema import CLASSES, SPLITS, VOTES

FILE = "labels.csv"
IMAGES = "images"
_VOCABULARY = {name.lower(): name for name in VOTES}
_EXPECTED = f"image, split, and either label or vote columns ({', '.join(VOTES)})"


def records(folder: Path) -> Listing:
    """List `labels.csv`: a row with something wrong in it is rejected, the rows around it are not.

    Raises:
        UserError: the file or the folder is not there, or the header does not say what the rows hold.
    """
    path, images = folder / FILE, folder / IMAGES
    if not path.is_file() or not images.is_dir():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"{folder}: found {found}, expected: {FILE} and the folder {IMAGES}/")
    rows = _csv.lines(path)
    header = _csv.header(path, rows, _EXPECTED)
    columns, ignored = _columns(path, header)

    listing, seen = Listing(), dict[str, int]()
    for row, line in rows:
        name = line.strip()[:80]
        try:
            cells = _csv.cells(line, len(header))
            cell = {column: text for column, text in zip(columns, cells, strict=True) if column}
            name = cell["image"]
            record = _record(images, row, cell)
            if record.name in seen:
                raise Refused("duplicate_name", f"row {seen[record.name]} has the same image")
            seen[record.name] = row
            listing.records.append(record)
        except Refused as why:
            listing.rejected.append(Rejected(FILE, row, name, why.reason, why.detail))
    if ignored:
        listing.notes["ignored_columns"] = ", ".join(ignored)
    listing.notes["images_without_row"] = _without_row(images, seen, listing.rejected)
    return listing


def _columns(path: Path, header: list[str]) -> tuple[list[str], list[str]]:
    """Return every column's canonical name ("" for one that is not used) and the names of those not used."""
    known = {"image": "image", "split": "split", "group": "group", "label": "label", **_VOCABULARY}
    columns = [known.get(name.lower(), "") for name in header]
    ignored = [name for name, column in zip(header, columns, strict=True) if name and not column]
    found = ", ".join(header)[:200]
    for name in ignored:
        # Left out in silence, a misspelt column of votes would change labels.
        if close := difflib.get_close_matches(name.lower(), known, 1, cutoff=0.8):
            raise UserError(f"{path}: found the column {name}, did you mean {known[close[0]]}?")
    classes = sum(name in CLASSES for name in columns)
    votes = sum(name in VOTES for name in columns)
    if not {"image", "split"} <= set(columns) or (votes == 0 and "label" not in columns):
        raise UserError(f"{path}: found the columns {found}, expected: {_EXPECTED}")
    if votes and "label" in columns:
        raise UserError(f"{path}: found both label and vote columns ({found}), expected: one or the other")
    if votes and classes < 2:
        raise UserError(
            f"{path}: found votes for {classes} class ({found}), expected: at least 2 of {CLASSES}"
        )
    return columns, ignored


def _record(images: Path, row: int, cell: dict[str, str]) -> Record:
    name, split = _inside(cell["image"]), cell["split"].lower()
    if split not in SPLITS:
        raise Refused("bad_split", f"found {cell['split'][:40]!r}, allowed: {', '.join(SPLITS)}")
    votes = label = None
    if "label" in cell:
        label = _VOCABULARY.get(cell["label"].lower())
        if label is None:
            raise Refused("unknown_label", f"found {cell['label'][:40]!r}, allowed: {', '.join(VOTES)}")
    else:
        votes = votes_of({column: text for column, text in cell.items() if column in VOTES})
    read = partial(_image.read, images, name)
    return Record(name, split, read, FILE, row, votes, label, cell.get("group") or None)


def _inside(text: str) -> str:
    """Return a path inside `images/` in its shortest form."""
    path = PurePosixPath(text)
    if not path.name and not path.is_absolute() and ".." not in path.parts:
        raise Refused("no_image_name", f"found {text!r}, expected: the path of a picture in {IMAGES}/")
    if path.is_absolute() or ".." in path.parts:
        raise Refused("outside_folder", f"found {text[:80]!r}, allowed: paths inside {IMAGES}/")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Refused("bad_image_name", f"found {text[:80]!r}, allowed: names without control characters")
    return str(path)


def _without_row(images: Path, seen: dict[str, int], rejected: list[Rejected]) -> int:
    """Count the files in `images/` that no row names."""
    named = {*seen, *(str(PurePosixPath(row.record)) for row in rejected)}
    files = (
        str(PurePosixPath(Path(place, name).relative_to(images)))
        for place, _, names in os.walk(images)
        for name in names
        if not name.startswith(".")
    )
    return sum(file not in named for file in files)
