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
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from pipeline.datasets import _csv
from pipeline.datasets._fer2013 import FILES, USAGES, PixelTable
from pipeline.datasets._listing import Listing, Refused, votes_of
from pipeline.datasets._tree import Tree, wrong
from pipeline.errors import UserError
from pipeline.schema import VOTES

VOTES_FILE = "fer2013new.csv"
LABEL_FILE = "label.csv"
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_NAME = re.compile(r"fer\d+\.png", re.ASCII)
_COLUMNS = ("Usage", "Image name", *VOTES)
_EXPECTED = (
    f"{', '.join(f'{name}/' for name in FOLDERS.values())} with pictures and {LABEL_FILE} "
    f"(or {VOTES_FILE} beside them), or {VOTES_FILE} and {' or '.join(FILES)}"
)


def records(tree: Tree) -> Listing:
    """List FER+ in whichever of its published forms lies in `tree`.

    Raises:
        UserError: the tree is none of them, or a file does not hold what its name promises.
    """
    top = tree.entries()
    pictures = {split: _pictures(tree, name) for split, name in FOLDERS.items() if f"{name}/" in top}
    pixels = next((PixelTable(tree, name) for name in FILES if name in top), None)
    labelled = [split for split in pictures if LABEL_FILE in tree.entries(FOLDERS[split])]

    if VOTES_FILE in top and (any(map(len, pictures.values())) or pixels):
        listing, named = _by_row(tree, pixels, labelled)
    elif labelled and any(map(len, pictures.values())):
        if bare := [FOLDERS[split] for split in pictures if len(pictures[split]) and split not in labelled]:
            raise UserError(
                f"{tree.address}/{bare[0]}: found pictures without votes, expected: {LABEL_FILE} beside them"
            )
        listing, named = _by_folder(tree, labelled)
    else:
        raise wrong(tree, _EXPECTED)
    listing.notes["images_without_row"] = sum(
        int((~np.isin(names, named)).sum()) for names in pictures.values()
    )
    return listing


@dataclass
class _Pictures:
    """Reads a picture from its folder or, where there is no such file, from its row of the CSV of pixels."""

    tree: Tree
    pixels: PixelTable | None

    def __call__(self, place: str) -> bytes:
        file, _, row = place.partition("|")
        try:
            return self.tree.read(file)
        except Refused as why:
            if self.pixels and why.reason == "missing_image":
                return self.pixels.read(row)
            raise


def _pictures(tree: Tree, folder: str) -> np.ndarray:
    """Return the hashes of the names of a folder's pictures: eight bytes each, however many there are."""
    names = (place.rpartition("/")[2] for place in tree.files(folder) if place.endswith(".png"))
    return np.fromiter(map(hash, names), np.int64)


def _by_row(tree: Tree, pixels: PixelTable | None, labelled: list[str]) -> tuple[Listing, np.ndarray]:
    """List `fer2013new.csv`; return also the hashes of the names that its rows hold."""
    where = f"{tree.address}/{VOTES_FILE}"
    rows = _csv.lines(tree, VOTES_FILE)
    header = _csv.header(tree, VOTES_FILE, rows, ", ".join(_COLUMNS))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise UserError(f"{where}: found no column {', '.join(missing)}, expected: {', '.join(_COLUMNS)}")
    usage_and_image = itemgetter(header.index("Usage"), header.index("Image name"))
    vote_cells = itemgetter(*(header.index(name) for name in VOTES))

    listing = Listing(_Pictures(tree, pixels), keep_repeats=True)
    named, voted = array("q"), {split: (array("q"), array("q")) for split in FOLDERS}
    pixel_rows = pixels.rows() if pixels else iter(())
    count = matched = place = 0
    for row, line in rows:
        image, count = line.strip()[:80], count + 1
        cell = None
        if pixel_row := next(pixel_rows, None):
            matched += 1
            place, cell = pixel_row
        try:
            cells = _csv.cells(line, len(header))
            usage, image = usage_and_image(cells)
            named.append(hash(image))
            if cell and cell["Usage"] != usage:
                raise UserError(
                    f"{where}, row {row}: found Usage {usage}, in the CSV of pixels {cell['Usage']}, "
                    "expected: both files in their published order, as they are joined row by row"
                )
            if usage not in USAGES:
                raise Refused("bad_split", f"found {usage[:40]!r}, allowed: {', '.join(USAGES)}")
            split = USAGES[usage]
            name, votes = _stem(image), votes_of(VOTES, vote_cells(cells))
            voted[split][0].append(hash(image))
            voted[split][1].append(hash(votes))
            file = f"{FOLDERS[split]}/{image}"
            listing.add(name, split, f"{file}|{place}" if pixels else file, VOTES_FILE, row, votes=votes)
        except Refused as why:
            listing.reject(VOTES_FILE, row, image, why)
    if pixels and (others := matched + sum(1 for _ in pixel_rows)) != count:
        raise UserError(
            f"{where}: found {count:,} rows, expected: {others:,}, as many as the CSV of pixels has"
        )
    names = np.array(named)
    if labelled:
        listing.notes["disagreements_with_label_csv"] = {
            split: _disagreements(tree, split, np.array(voted[split]), names, listing) for split in labelled
        }
    return listing, names


def _disagreements(tree: Tree, split: str, voted: np.ndarray, named: np.ndarray, listing: Listing) -> int:
    """Count the pictures to which `label.csv` gives other votes; reject its rows that `named` does not hold.

    Args:
        tree: the data set's files.
        split: whose `label.csv`.
        voted: hashes of the name and the votes of each record of the split, [2, N].
        named: hashes of all names in `fer2013new.csv`.
        listing: takes the rejected rows.
    """
    file = f"{FOLDERS[split]}/{LABEL_FILE}"
    images, other = array("q"), array("q")
    for row, image, found in _label_rows(tree, split):
        if isinstance(found, Refused):
            listing.reject(file, row, image, found)
        else:
            images.append(hash(image))
            other.append(hash(found))
    if unknown := set(np.setdiff1d(np.array(images), named).tolist()):
        why = Refused("no_votes", f"{VOTES_FILE}, whose votes count, has no row for this picture")
        for row, image, found in _label_rows(tree, split):
            if hash(image) in unknown and not isinstance(found, Refused):
                listing.reject(file, row, image, why)
    order = np.argsort(np.array(images), kind="stable")
    keys, votes = np.array(images)[order], np.array(other)[order]
    last = np.searchsorted(keys, voted[0], "right") - 1  # of repeated names the last row counts
    both = (last >= 0) & (keys[last.clip(0)] == voted[0]) if len(keys) else np.zeros(len(voted[0]), bool)
    return int((votes[last[both]] != voted[1][both]).sum())


def _by_folder(tree: Tree, labelled: list[str]) -> tuple[Listing, np.ndarray]:
    """List the `label.csv` of each split's folder; return also the hashes of the names in them."""
    listing, named = Listing(_Pictures(tree, None), keep_repeats=True), array("q")
    for split in labelled:
        file = f"{FOLDERS[split]}/{LABEL_FILE}"
        for row, image, found in _label_rows(tree, split):
            named.append(hash(image))
            if isinstance(found, Refused):
                listing.reject(file, row, image, found)
            else:
                listing.add(_stem(image), split, f"{FOLDERS[split]}/{image}", file, row, votes=found)
    return listing, np.array(named)


def _label_rows(tree: Tree, split: str) -> Iterator[tuple[int, str, tuple[int, ...] | Refused]]:
    """Yield row, image name and votes of a `label.csv`, or what is wrong with them."""
    for row, line in _csv.lines(tree, f"{FOLDERS[split]}/{LABEL_FILE}"):
        image = line.split(",")[0].strip()[:80]
        try:
            image, _, *votes = _csv.cells(line, 2 + len(VOTES))
            _stem(image)
            yield row, image, votes_of(VOTES, tuple(votes))
        except Refused as why:
            yield row, image, why


def _stem(image: str) -> str:
    if not image:
        raise Refused("no_image_name", "the row names no image")
    if not _NAME.fullmatch(image):
        raise Refused("bad_image_name", f"found {image[:80]!r}, allowed: names like fer0000000.png")
    return image[:-4]
