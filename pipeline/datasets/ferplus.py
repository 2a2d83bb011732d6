"""FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041): ten annotators' votes for FER2013's faces.

    data/raw/ferplus/
        FER2013Train/   fer0000000.png ... and label.csv
        FER2013Valid/   the same
        FER2013Test/    the same
        fer2013new.csv
        fer2013.csv     or icml_face_data.csv: the pixels

Any of these is enough: the folders with their `label.csv`; the folders and `fer2013new.csv`; `fer2013new.csv`
and a CSV of pixels.

Where `fer2013new.csv` is there, its rows are the records and its votes are used; `label.csv`, by the same
authors, has other votes for some pictures, and the metrics say for how many. A row's picture is the file of
that name, or, where there is none, the same row of the pixels' CSV: the number in a name is not a row number.
The cells of `label.csv`, which has no header, are the name, the face's box (the whole picture, in every row)
and the ten votes.

A record's id is `ferplus/<image name without .png>`. 173 rows of `fer2013new.csv` have no image name: nobody
saw a face there. Four rows repeat an earlier row's name. Three of them repeat its votes as well; they are
records of their own, `ferplus/<name>-row<N>`, because the published counts (28,389 training images) are
counts of rows. The fourth contradicts the row before and is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets import _csv, _image
from pipeline.datasets._fer2013 import FILES, PixelTable
from pipeline.datasets._record import Listing, Record, Refused, Rejected, votes_of
from pipeline.errors import UserError
from pipeline.schema import VOTES

VOTES_FILE = "fer2013new.csv"
LABEL_FILE = "label.csv"
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
_NAME = re.compile(r"fer\d+\.png", re.ASCII)
_COLUMNS = ("Usage", "Image name", *VOTES)
_EXPECTED = (
    f"{', '.join(f'{name}/' for name in FOLDERS.values())} with pictures and {LABEL_FILE} "
    f"(or {VOTES_FILE} beside them), or {VOTES_FILE} and {' or '.join(FILES)}"
)

Votes = tuple[int, ...]


class _Row(NamedTuple):
    """What both forms of the votes say of a picture."""

    file: str
    row: int
    image: str  # file name
    split: str
    votes: Votes


def records(folder: Path) -> Listing:
    """List FER+ in whichever of its published forms lies in `folder`.

    Raises:
        UserError: the tree is none of them, or a file does not hold what its name promises.
    """
    pictures = {split: _pictures(folder / name) for split, name in FOLDERS.items()}
    pixels = next((folder / name for name in FILES if (folder / name).is_file()), None)
    labelled = [split for split, name in FOLDERS.items() if (folder / name / LABEL_FILE).is_file()]

    if (folder / VOTES_FILE).is_file() and (any(pictures.values()) or pixels):
        listing = _by_row(folder, pictures, PixelTable(pixels) if pixels else None, labelled)
    elif labelled and any(pictures.values()):
        if unlabelled := [FOLDERS[split] for split in FOLDERS if pictures[split] and split not in labelled]:
            raise UserError(
                f"{folder / unlabelled[0]}: found pictures without votes, expected: {LABEL_FILE} beside them"
            )
        listing = _by_folder(folder, labelled)
    else:
        found = (
            ", ".join(sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())[:8])
            or "nothing"
        )
        raise UserError(f"{folder}: found {found}; expected: {_EXPECTED}")

    named = {f"{record.name}.png" for record in listing.records} | {row.record for row in listing.rejected}
    listing.notes["images_without_row"] = sum(len(names - named) for names in pictures.values())
    return listing


def _pictures(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.suffix == ".png"} if folder.is_dir() else set()


def _by_row(
    folder: Path, pictures: dict[str, set[str]], pixels: PixelTable | None, labelled: list[str]
) -> Listing:
    """List `fer2013new.csv`, with pictures from the folders or, row by row, from the pixels' CSV."""
    path = folder / VOTES_FILE
    rows = _csv.lines(path)
    header = _csv.header(path, rows, ", ".join(_COLUMNS))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise UserError(f"{path}: found no column {', '.join(missing)}, expected: {', '.join(_COLUMNS)}")
    lines = list(rows)
    if pixels and len(pixels) != len(lines):
        raise UserError(
            f"{path}: found {len(lines):,} rows, expected: {len(pixels):,}, as many as the CSV of pixels has"
        )

    listing, seen, named = Listing(), dict[str, _Row](), set[str]()
    others = {split: {found.image: found for found in _label_rows(folder, split)[0]} for split in labelled}
    disagreements = dict.fromkeys(labelled, 0)
    for index, (row, line) in enumerate(lines):
        image = line.strip()[:80]
        try:
            cell = dict(zip(header, _csv.cells(line, len(header)), strict=True))
            usage, image = cell["Usage"], cell["Image name"]
            named.add(image)
            if pixels and pixels.usages[index] not in (usage, None):
                raise UserError(
                    f"{path}, row {row}: found Usage {usage}, in the CSV of pixels {pixels.usages[index]}, "
                    "expected: both files in their published order, as they are joined row by row"
                )
            if usage not in USAGES:
                raise Refused("bad_split", f"found {usage[:40]!r}, allowed: {', '.join(USAGES)}")
            split = USAGES[usage]
            found = _Row(
                VOTES_FILE, row, _checked(image), split, votes_of({name: cell[name] for name in VOTES})
            )
            if split in others and image in others[split]:
                disagreements[split] += others[split][image].votes != found.votes
            read = partial(_image.read, folder / FOLDERS[split], image)
            if pixels and image not in pictures[split]:
                read = partial(pixels.png, index)
            listing.records.append(_record(found, read, seen))
        except Refused as why:
            listing.rejected.append(Rejected(VOTES_FILE, row, image, why.reason, why.detail))
    for other in (other for split in labelled for name, other in others[split].items() if name not in named):
        detail = f"{VOTES_FILE}, whose votes count, has no row for this picture"
        listing.rejected.append(Rejected(other.file, other.row, other.image, "no_votes", detail))
    if labelled:
        listing.notes["disagreements_with_label_csv"] = disagreements
    return listing


def _by_folder(folder: Path, labelled: list[str]) -> Listing:
    """List the `label.csv` of each split's folder."""
    listing, seen = Listing(), dict[str, _Row]()
    for split in labelled:
        rows, rejected = _label_rows(folder, split)
        listing.rejected += rejected
        for found in rows:
            try:
                read = partial(_image.read, folder / FOLDERS[split], found.image)
                listing.records.append(_record(found, read, seen))
            except Refused as why:
                listing.rejected.append(Rejected(found.file, found.row, found.image, why.reason, why.detail))
    return listing


def _label_rows(folder: Path, split: str) -> tuple[list[_Row], list[Rejected]]:
    """Read the `label.csv` of a split: name, box, and votes in the order of `schema.VOTES`."""
    file = f"{FOLDERS[split]}/{LABEL_FILE}"
    rows, rejected = [], []
    for row, line in _csv.lines(folder / file):
        image = line.split(",")[0].strip()[:80]
        try:
            image, _, *votes = _csv.cells(line, 2 + len(VOTES))
            rows.append(
                _Row(file, row, _checked(image), split, votes_of(dict(zip(VOTES, votes, strict=True))))
            )
        except Refused as why:
            rejected.append(Rejected(file, row, image, why.reason, why.detail))
    return rows, rejected


def _checked(image: str) -> str:
    if not image:
        raise Refused("no_image_name", "the row names no image")
    if not _NAME.fullmatch(image):
        raise Refused("bad_image_name", f"found {image[:80]!r}, allowed: names like fer0000000.png")
    return image


def _record(found: _Row, read: Callable[[], bytes], seen: dict[str, _Row]) -> Record:
    """Return the record of a row; one that repeats an earlier row's name must repeat its split and votes."""
    name = found.image.removesuffix(".png")
    first = seen.setdefault(name, found)
    if (first.split, first.votes) != (found.split, found.votes):
        raise Refused("duplicate_name", f"{first.file}, row {first.row} has the same name and other votes")
    if first is not found:
        name = f"{name}-row{found.row}"
    return Record(name, found.split, read, found.file, found.row, found.votes)
