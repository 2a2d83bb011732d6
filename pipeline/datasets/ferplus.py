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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError, printable
from pipeline.core.parallel import chunks
from pipeline.intake import csv_rows
from pipeline.intake import keys as _keys
from pipeline.intake.listing import Listing, Refused, votes_of
from pipeline.intake.pixel_table import FILES, USAGES, PixelTable
from pipeline.intake.tree import Tree, wrong
from pipeline.tables.schema import VOTES

VOTES_FILE = "fer2013new.csv"
LABEL_FILE = "label.csv"
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
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
    first = next(csv_rows.lines(tree, VOTES_FILE), (0, ""))
    header = csv_rows.header(tree, VOTES_FILE, iter([first]), ", ".join(_COLUMNS))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise UserError(f"{where}: found no column {', '.join(missing)}, expected: {', '.join(_COLUMNS)}")
    usage_and_image = itemgetter(header.index("Usage"), header.index("Image name"))
    vote_cells = itemgetter(*(header.index(name) for name in VOTES))

    listing = Listing(_Pictures(tree, pixels), keep_repeats=True)
    named, voted = _keys.Keys(), {split: (_keys.Keys(), _keys.Keys()) for split in labelled}
    pixel_rows = pixels.rows() if pixels else iter(())
    count = matched = 0
    for block in csv_rows.blocks(tree, VOTES_FILE, after=first[0]):
        count += len(block.rows)
        plain = np.zeros(len(block.rows), bool)
        if not pixels and (cells_of := block.columns(header)):
            keys, votes, good = _keys.plain(cells_of["Image name"], cells_of)
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
                    voted[split][1].add(_keys.with_votes(keys[chosen], votes[chosen]))
                plain |= chosen
        # One by one: what is wrong, what merely looks odd, and what is joined to a row of pixels.
        lines = block.lines()
        for row, line in ((int(block.rows[i]), lines[i]) for i in np.flatnonzero(~plain)):
            image, place, cell = line.strip()[:80], 0, None
            if pixel_row := next(pixel_rows, None):
                matched += 1
                place, cell = pixel_row
            try:
                cells = csv_rows.cells(line, len(header))
                usage, image = usage_and_image(cells)
                key = _keys.of_one(image)
                named.add(key)
                if cell and cell["Usage"] != usage:
                    raise UserError(
                        f"{where}, row {row}: found Usage {usage[:40]}, in the CSV of pixels {cell['Usage'][:40]}, "
                        "expected: both files in their published order, as they are joined row by row"
                    )
                if usage not in USAGES:
                    raise Refused.of("bad_split", repr(usage[:40]), USAGES)
                split = USAGES[usage]
                name, given = _stem(image), votes_of(VOTES, vote_cells(cells))
                if split in voted:
                    voted[split][0].add(key)
                    voted[split][1].add(_keys.with_votes(key, np.array([given])))
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
    tree: Tree, voted: dict[str, tuple[_keys.Keys, _keys.Keys]], named: _keys.Keys, listing: Listing
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
        both, same = _keys.Found(voted_names), _keys.Found(voted_pairs)
        for names, keys, rows, votes in _label_blocks(tree, split, listing):
            both.find(keys)
            same.find(_keys.with_votes(keys, votes))
            for index in np.flatnonzero(~_keys.among(keys, known)):
                listing.reject(f"{FOLDERS[split]}/{LABEL_FILE}", int(rows[index]), names[index].as_py(), why)
            yield
        differ = listing.notes.setdefault("disagreements_with_label_csv", {})
        differ[split] = both.count() - same.count()


def _without_row(tree: Tree, folders: list[str], named: _keys.Keys, listing: Listing) -> Iterator[None]:
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
            keys = _keys.of(pc.utf8_slice_codeunits(pictures, len(FOLDERS[split]) + 1))
            listing.notes["images_without_row"] += int((~_keys.among(keys, known)).sum())
            yield


def _by_folder(tree: Tree, labelled: list[str], folders: list[str]) -> Listing:
    """List the `label.csv` of some splits' folders, and compare it with the pictures of some."""
    listing, named = Listing(_Pictures(tree, None), keep_repeats=True), _keys.Keys()
    for split in labelled:
        file = f"{FOLDERS[split]}/{LABEL_FILE}"
        for names, keys, rows, votes in _label_blocks(tree, split, listing, named):
            named.add(keys)
            stems = pc.utf8_slice_codeunits(names, 0, -4)
            listing.extend(stems, split, f"{FOLDERS[split]}/", ".png", file, rows, votes)
    listing.beside = _without_row(tree, folders, named, listing)
    return listing


def _label_blocks(
    tree: Tree, split: str, listing: Listing, refused: _keys.Keys | None = None
) -> Iterator[tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield image names, their keys, row numbers and votes int32 [N, V] of a `label.csv`; reject its other rows.

    `refused` takes the keys of the names in these.
    """
    file = f"{FOLDERS[split]}/{LABEL_FILE}"
    for block in csv_rows.blocks(tree, file):
        rows, plain = block.rows, np.zeros(len(block.rows), bool)
        if cells_of := block.columns(("image", "box", *VOTES)):
            keys, votes, plain = _keys.plain(cells_of["image"], cells_of)
            yield cells_of["image"].filter(pa.array(plain)), keys[plain], rows[plain], votes[plain]
        lines = [] if plain.all() else block.lines()
        for row, line in ((int(rows[i]), lines[i]) for i in np.flatnonzero(~plain)):
            image = line.split(",")[0].strip()[:80]
            try:
                image, _, *cells = csv_rows.cells(line, 2 + len(VOTES))
                _stem(image)
                given = votes_of(VOTES, tuple(cells))
                yield (
                    pa.array([image]),
                    _keys.of_one(image),
                    np.array([row], np.int32),
                    np.array([given], np.int32),
                )
            except Refused as why:
                listing.reject(file, row, image, why)
                if refused is not None:
                    refused.add(_keys.of_one(image))


def _stem(image: str) -> str:
    if not image:
        raise Refused("no_image_name", "the row names no image")
    if not _keys.NAME.fullmatch(image):
        raise Refused.of("bad_image_name", repr(image[:80]), "names like fer0000000.png")
    return image[:-4]
