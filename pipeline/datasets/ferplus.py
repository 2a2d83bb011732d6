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
from itertools import chain
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import _csv
from pipeline.datasets._fer2013 import FILES, USAGES, PixelTable
from pipeline.datasets._listing import Listing, Refused, mixed, votes_of
from pipeline.datasets._tree import Tree, wrong
from pipeline.errors import UserError, printable
from pipeline.parallel import chunks
from pipeline.schema import VOTES

VOTES_FILE = "fer2013new.csv"
LABEL_FILE = "label.csv"
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_NAME = re.compile(r"fer\d{1,15}\.png", re.ASCII)
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
    # Of each folder that is there: does it hold a picture?
    pictures = {
        split: any(place.endswith(".png") for place in tree.files(name))
        for split, name in FOLDERS.items()
        if f"{name}/" in top
    }
    pixels = next((PixelTable(tree, name) for name in FILES if name in top), None)
    labelled = [split for split in pictures if tree.has(f"{FOLDERS[split]}/{LABEL_FILE}")]

    if VOTES_FILE in top and (any(pictures.values()) or pixels):
        return _by_row(tree, pixels, labelled, list(pictures))
    if labelled and any(pictures.values()):
        if bare := [FOLDERS[split] for split, some in pictures.items() if some and split not in labelled]:
            raise UserError(
                f"{tree.address}/{bare[0]}: found pictures without votes, expected: {LABEL_FILE} beside them"
            )
        return _by_folder(tree, labelled, list(pictures))
    raise wrong(tree, _EXPECTED)


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


def _by_row(tree: Tree, pixels: PixelTable | None, labelled: list[str], folders: list[str]) -> Listing:
    """List `fer2013new.csv`, and compare it with the `label.csv` and the pictures of some splits."""
    where = f"{tree.address}/{VOTES_FILE}"
    first = next(_csv.lines(tree, VOTES_FILE), (0, ""))
    header = _csv.header(tree, VOTES_FILE, iter([first]), ", ".join(_COLUMNS))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise UserError(f"{where}: found no column {', '.join(missing)}, expected: {', '.join(_COLUMNS)}")
    usage_and_image = itemgetter(header.index("Usage"), header.index("Image name"))
    vote_cells = itemgetter(*(header.index(name) for name in VOTES))

    listing = Listing(_Pictures(tree, pixels), keep_repeats=True)
    named, voted = _Keys(), {split: (_Keys(), _Keys()) for split in labelled}
    pixel_rows = pixels.rows() if pixels else iter(())
    count = matched = 0
    for block in _csv.blocks(tree, VOTES_FILE, after=first[0]):
        count += len(block.rows)
        plain = np.zeros(len(block.rows), bool)
        if not pixels and (cells_of := block.columns(header)):
            keys, votes, good = _plain(cells_of["Image name"], cells_of)
            for usage, split in USAGES.items():
                chosen = good & pc.equal(cells_of["Usage"], usage).to_numpy(zero_copy_only=False)
                if not chosen.any():  # the published file has one after the other
                    continue
                images = cells_of["Image name"].filter(pa.array(chosen))
                names = pc.utf8_slice_codeunits(images, 0, -4)
                before = f"{FOLDERS[split]}/"
                listing.extend(names, split, before, ".png", VOTES_FILE, block.rows[chosen], votes[chosen])
                named.add(keys[chosen])
                if split in voted:
                    voted[split][0].add(keys[chosen])
                    voted[split][1].add(_pairs(keys[chosen], votes[chosen]))
                plain |= chosen
        # One by one: what is wrong, what merely looks odd, and what is joined to a row of pixels.
        lines = block.lines()
        for row, line in ((int(block.rows[i]), lines[i]) for i in np.flatnonzero(~plain)):
            image, place, cell = line.strip()[:80], 0, None
            if pixel_row := next(pixel_rows, None):
                matched += 1
                place, cell = pixel_row
            try:
                cells = _csv.cells(line, len(header))
                usage, image = usage_and_image(cells)
                key = _key(image)
                named.add(key)
                if cell and cell["Usage"] != usage:
                    raise UserError(
                        f"{where}, row {row}: found Usage {usage[:40]}, in the CSV of pixels {cell['Usage'][:40]}, "
                        "expected: both files in their published order, as they are joined row by row"
                    )
                if usage not in USAGES:
                    raise Refused("bad_split", f"found {usage[:40]!r}, allowed: {', '.join(USAGES)}")
                split = USAGES[usage]
                name, given = _stem(image), votes_of(VOTES, vote_cells(cells))
                if split in voted:
                    voted[split][0].add(key)
                    voted[split][1].add(_pairs(key, np.array([given])))
                file = f"{FOLDERS[split]}/{image}"
                listing.add(name, split, f"{file}|{place}" if pixels else file, VOTES_FILE, row, votes=given)
            except Refused as why:
                listing.reject(VOTES_FILE, row, image, why)
    if pixels and (others := matched + sum(1 for _ in pixel_rows)) != count:
        raise UserError(
            f"{where}: found {count:,} rows, expected: {others:,}, as many as the CSV of pixels has"
        )
    listing.beside = chain(
        _disagreements(tree, voted, named, listing), _without_row(tree, folders, named, listing)
    )
    return listing


def _disagreements(
    tree: Tree, voted: dict[str, tuple[_Keys, _Keys]], named: _Keys, listing: Listing
) -> Iterator[None]:
    """Count the rows to whose picture `label.csv` gives other votes; reject its rows that `named` does not hold.

    Args:
        tree: the data set's files.
        voted: keys of the names, and of the names with the votes, of the records of each split with a `label.csv`.
        named: keys of all names in `fer2013new.csv`.
        listing: takes the counts and the rejected rows.
    """
    why = Refused("no_votes", f"{VOTES_FILE}, whose votes count, has no row for this picture")
    known = named.sorted()
    for split in list(voted):
        voted_names, voted_pairs = voted.pop(split)
        both, same = _Found(voted_names), _Found(voted_pairs)
        for names, keys, rows, votes in _label_blocks(tree, split, listing):
            both.find(keys)
            same.find(_pairs(keys, votes))
            for index in np.flatnonzero(~_among(keys, known)):
                listing.reject(f"{FOLDERS[split]}/{LABEL_FILE}", int(rows[index]), names[index].as_py(), why)
            yield
        differ = listing.notes.setdefault("disagreements_with_label_csv", {})
        differ[split] = both.count() - same.count()


def _without_row(tree: Tree, folders: list[str], named: _Keys, listing: Listing) -> Iterator[None]:
    """Count the pictures in the folders of some splits that no row names."""
    listing.notes["images_without_row"] = 0
    known = named.sorted()
    for split in folders:
        for places in chunks(tree.files(FOLDERS[split]), 2048):
            try:
                files = pa.array(places, pa.string())
            except UnicodeEncodeError:
                files = pa.array(map(printable, places), pa.string())
            pictures = files.filter(pc.ends_with(files, ".png"))
            keys = _keys(pc.utf8_slice_codeunits(pictures, len(FOLDERS[split]) + 1))
            listing.notes["images_without_row"] += int((~_among(keys, known)).sum())
            yield


def _by_folder(tree: Tree, labelled: list[str], folders: list[str]) -> Listing:
    """List the `label.csv` of some splits' folders, and compare it with the pictures of some."""
    listing, named = Listing(_Pictures(tree, None), keep_repeats=True), _Keys()
    for split in labelled:
        file = f"{FOLDERS[split]}/{LABEL_FILE}"
        for names, keys, rows, votes in _label_blocks(tree, split, listing, named):
            named.add(keys)
            stems = pc.utf8_slice_codeunits(names, 0, -4)
            listing.extend(stems, split, f"{FOLDERS[split]}/", ".png", file, rows, votes)
    listing.beside = _without_row(tree, folders, named, listing)
    return listing


def _label_blocks(
    tree: Tree, split: str, listing: Listing, refused: _Keys | None = None
) -> Iterator[tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield image names, their keys, row numbers and votes int32 [N, V] of a `label.csv`; reject its other rows.

    `refused` takes the keys of the names in these.
    """
    file = f"{FOLDERS[split]}/{LABEL_FILE}"
    for block in _csv.blocks(tree, file):
        rows, plain = block.rows, np.zeros(len(block.rows), bool)
        if cells_of := block.columns(("image", "box", *VOTES)):
            keys, votes, plain = _plain(cells_of["image"], cells_of)
            yield cells_of["image"].filter(pa.array(plain)), keys[plain], rows[plain], votes[plain]
        lines = [] if plain.all() else block.lines()
        for row, line in ((int(rows[i]), lines[i]) for i in np.flatnonzero(~plain)):
            image = line.split(",")[0].strip()[:80]
            try:
                image, _, *cells = _csv.cells(line, 2 + len(VOTES))
                _stem(image)
                given = votes_of(VOTES, tuple(cells))
                yield pa.array([image]), _key(image), np.array([row], np.int32), np.array([given], np.int32)
            except Refused as why:
                listing.reject(file, row, image, why)
                if refused is not None:
                    refused.add(_key(image))


def _plain(images: pa.Array, cells: dict[str, pa.Array]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys of the names, votes int32 [N, V], and which rows have a good name and good votes."""
    keys = _keys(images)
    good = keys >= 0
    given = pa.concat_arrays([cells[name] for name in VOTES])
    numbers = _numbers(given, 9)
    votes = pc.if_else(numbers, given, "0").cast(pa.int32()).to_numpy().reshape(len(VOTES), -1).T
    good &= numbers.to_numpy(zero_copy_only=False).reshape(len(VOTES), -1).all(axis=0)
    return keys, votes, good & votes.any(axis=1)


def _numbers(text: pa.Array, most: int) -> pa.Array:
    """Return which texts are 1 to `most` digits."""
    return pc.and_(pc.ascii_is_decimal(text), pc.less_equal(pc.binary_length(text), most))


def _keys(images: pa.Array) -> np.ndarray:
    """Return a number for each file name, int64, the same for the same name; -1 for what is no name of FER+'s."""
    digits = pc.utf8_slice_codeunits(images, 3, -4)
    shaped = pc.and_(pc.starts_with(images, "fer"), pc.ends_with(images, ".png"))
    good = pc.and_(shaped, _numbers(digits, 15))
    digits = pc.if_else(good, digits, "0")
    keys = digits.cast(pa.int64()).to_numpy() * 16 + pc.binary_length(digits).to_numpy()  # 007 is not 7
    return np.where(good.to_numpy(zero_copy_only=False), keys, -1)


def _key(image: str) -> np.ndarray:
    """Return what `_keys` returns for one name."""
    return np.array([int(image[3:-4]) * 16 + len(image) - 7 if _NAME.fullmatch(image) else -1])


def _pairs(keys: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return a hash of each name with its votes, int64, not negative."""
    hashes = (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ mixed(votes)
    return (hashes >> np.uint64(1)).astype(np.int64)


class _Keys:
    """Keys of names, eight bytes each: a million take no more than some thousand names would as text."""

    def __init__(self) -> None:
        self._all = array("q")

    def add(self, keys: np.ndarray) -> None:
        self._all.frombytes(keys.tobytes())

    def sorted(self) -> np.ndarray:
        """Return all keys in order; none can be added afterwards."""
        keys = np.frombuffer(self._all, np.int64)
        keys.sort()
        return keys


class _Found:
    """Which of some keys are found elsewhere, looked for a block at a time."""

    def __init__(self, keys: _Keys) -> None:
        self._keys = keys.sorted()
        self._found = np.zeros(len(self._keys), bool)

    def find(self, values: np.ndarray) -> None:
        if len(self._keys):
            first = np.searchsorted(self._keys, values).clip(max=len(self._keys) - 1)
            self._found[first[self._keys[first] == values]] = True

    def count(self) -> int:
        """Return how many keys were found, those that occur twice counted twice."""
        return int(self._found[np.searchsorted(self._keys, self._keys)].sum())


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which values are in a sorted array; -1 never is."""
    if not len(known):
        return np.zeros(len(values), bool)
    return (values >= 0) & (known[np.searchsorted(known, values).clip(max=len(known) - 1)] == values)


def _stem(image: str) -> str:
    if not image:
        raise Refused("no_image_name", "the row names no image")
    if not _NAME.fullmatch(image):
        raise Refused("bad_image_name", f"found {image[:80]!r}, allowed: names like fer0000000.png")
    return image[:-4]
