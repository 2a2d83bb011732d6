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
from pipeline.parallel import chunks
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
    labelled = [split for split in pictures if tree.has(f"{FOLDERS[split]}/{LABEL_FILE}")]

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
    listing.notes["images_without_row"] = sum(int((~_among(p, named)).sum()) for p in pictures.values())
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
    # Hashes of 64 bits: of all names, and of each split's names and names with votes.
    named = array("q")
    voted = {split: (array("q"), array("q")) for split in labelled}
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
            if split in voted:
                voted[split][0].append(hash(image))
                voted[split][1].append(hash((image, votes)))
            file = f"{FOLDERS[split]}/{image}"
            listing.add(name, split, f"{file}|{place}" if pixels else file, VOTES_FILE, row, votes=votes)
        except Refused as why:
            listing.reject(VOTES_FILE, row, image, why)
    if pixels and (others := matched + sum(1 for _ in pixel_rows)) != count:
        raise UserError(
            f"{where}: found {count:,} rows, expected: {others:,}, as many as the CSV of pixels has"
        )
    names = _sorted(named)
    if labelled:
        listing.notes["disagreements_with_label_csv"] = {
            split: _disagreements(tree, split, voted[split], names, listing) for split in labelled
        }
    return listing, names


def _disagreements(
    tree: Tree, split: str, voted: tuple[array[int], array[int]], named: np.ndarray, listing: Listing
) -> int:
    """Count the rows to whose picture `label.csv` gives other votes; reject its rows that `named` does not hold.

    Args:
        tree: the data set's files.
        split: whose `label.csv`.
        voted: hashes of the names, and of the names with the votes, of the split's records.
        named: hashes of all names in `fer2013new.csv`, sorted.
        listing: takes the rejected rows.
    """
    file, images, votes = f"{FOLDERS[split]}/{LABEL_FILE}", array("q"), array("q")
    why = Refused("no_votes", f"{VOTES_FILE}, whose votes count, has no row for this picture")
    for rows in chunks(_label_rows(tree, split), 4096):
        good = []
        for row, image, found in rows:
            if isinstance(found, Refused):
                listing.reject(file, row, image, found)
            else:
                good.append((row, image))
                images.append(hash(image))
                votes.append(hash((image, found)))
        newest = np.array(images[len(images) - len(good) :], np.int64)
        for index in np.flatnonzero(~_among(newest, named)):
            listing.reject(file, *good[index], why)
    both, same = (
        _among(np.frombuffer(of_row, np.int64), _sorted(of_label))
        for of_row, of_label in zip(voted, (images, votes), strict=True)
    )
    return int((both & ~same).sum())


def _sorted(values: array[int]) -> np.ndarray:
    found = np.frombuffer(values, np.int64).copy()
    found.sort()
    return found


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which values are in a sorted array."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.searchsorted(known, values).clip(max=len(known) - 1)] == values


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
    return listing, _sorted(named)


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
