"""FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041): ten annotators' votes for FER2013's faces.

    data/raw/ferplus/
        FER2013Train/   fer0000000.png ... and label.csv
        FER2013Valid/   the same
        FER2013Test/    the same
        fer2013new.csv
        fer2013.csv     or icml_face_data.csv: the pixels

Any of these combinations is enough:

* the folders with their `label.csv`,
* the folders and `fer2013new.csv`,
* `fer2013new.csv` and a CSV file of pixels.

With `fer2013new.csv`, its rows are the records and its votes are used. `label.csv`, by the same authors, has other
votes for some images; the metrics count them. A row's image is the file of that name. If there is no such file,
it is the same row of the CSV file of pixels: the number in a name is not a row number. `label.csv` has no header.
Its cells are the name, the face's box (the whole image, in every row) and the ten votes.

An id is `ferplus/<image name without .png>`. In `fer2013new.csv`, 173 rows have no image name: nobody saw a face
there. Four rows repeat an earlier row's name. Three of them also repeat its votes; they are records of their own,
`ferplus/<name>-row<N>`, because the published counts (28,389 training images) are counts of rows. The fourth
contradicts the earlier row and is rejected. Images of one colour are kept, because those counts include them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing, votes_of
from pipeline.intake.options import Options
from pipeline.intake.pixel_table import FILES, USAGES, PixelTable
from pipeline.intake.tree import Tree, wrong_tree
from pipeline.tables.vocabulary import VOTES

VOTES_FILE = "fer2013new.csv"
LABEL_FILE = "label.csv"
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_NAME = re.compile(r"fer\d{1,15}\.png", re.ASCII)
_COLUMNS = ("Usage", "Image name", *VOTES)
_EXPECTED = (
    f"{', '.join(f'{name}/' for name in FOLDERS.values())} with images and {LABEL_FILE} "
    f"(or {VOTES_FILE} beside them), or {VOTES_FILE} and {' or '.join(FILES)}"
)


def records(tree: Tree, options: Options) -> Listing:
    """List FER+ in whichever of its published forms lies in `tree`.

    Raises:
        UserError: the tree is none of them, or a file does not hold what its name promises.
    """
    top = tree.entries()
    has_images = {
        split: any(place.endswith(".png") for place in tree.files(name))
        for split, name in FOLDERS.items()
        if f"{name}/" in top
    }
    pixels = next((PixelTable(tree, name) for name in FILES if name in top), None)
    labelled = [split for split in has_images if tree.has(f"{FOLDERS[split]}/{LABEL_FILE}")]

    listing, named = Listing(_ImageReader(tree, pixels), keep_repeats=True, keep_flat=True), set[str]()
    if VOTES_FILE in top and (any(has_images.values()) or pixels):
        _add_votes_file(tree, pixels, labelled, listing, named)
    elif labelled and any(has_images.values()):
        if bare := [FOLDERS[split] for split, some in has_images.items() if some and split not in labelled]:
            raise UserError(
                f"{tree.address}/{bare[0]}: found images without votes, expected: {LABEL_FILE} beside them"
            )
        for split in labelled:
            file = f"{FOLDERS[split]}/{LABEL_FILE}"
            for row, image, votes in _label_rows(tree, split, listing, named):
                listing.add(image[:-4], split, f"{FOLDERS[split]}/{image}", file, row, votes=votes)
    else:
        raise wrong_tree(tree, _EXPECTED)
    if not pixels:  # folders circulate without their images
        without = [split for split in FOLDERS if not has_images.get(split)]
        listing.expected["missing_image"] += sum(
            count for (split, _), count in listing.counts().items() if split in without
        )
    images = (
        place.removeprefix(f"{FOLDERS[split]}/")
        for split in has_images
        for place in tree.files(FOLDERS[split])
    )
    listing.notes["images_without_row"] = sum(
        image.endswith(".png") and image not in named for image in images
    )
    return listing


@dataclass
class _ImageReader:
    """Reads an image from its file or, at a place `<file>|<offset>`, from its row of the CSV file of pixels."""

    tree: Tree
    pixels: PixelTable | None

    def __call__(self, place: str) -> bytes:
        return self.pixels.read(place) if self.pixels and "|" in place else self.tree.read(place)


def _add_votes_file(
    tree: Tree, pixels: PixelTable | None, labelled: list[str], listing: Listing, named: set[str]
) -> None:
    """Add the rows of `fer2013new.csv`, and compare them with the `label.csv` of some splits.

    Args:
        tree: the data set's files.
        pixels: the CSV file of pixels, if there is one.
        labelled: splits with a `label.csv`.
        listing: takes the records, the rejected rows, and the number of rows with other votes in `label.csv`.
        named: takes the image names of all rows.
    """
    path = f"{tree.address}/{VOTES_FILE}"
    rows = csv_rows.lines(tree, VOTES_FILE)
    header, mark = csv_rows.header(tree, VOTES_FILE, rows, _COLUMNS)
    usage_and_image = itemgetter(header.index("Usage"), header.index("Image name"))
    vote_cells = itemgetter(*(header.index(name) for name in VOTES))
    label_votes: dict[str, dict[str, list[tuple[int, tuple[int, ...]]]]] = {}
    for split in labelled:
        label_votes[split] = defaultdict(list)
        for row, image, votes in _label_rows(tree, split, listing, set()):
            label_votes[split][image].append((row, votes))
    disagreements = dict.fromkeys(labelled, 0)
    pixel_rows = pixels.rows() if pixels else iter(())
    files = {place for folder in FOLDERS.values() for place in tree.files(folder)} if pixels else set()
    count = matched = 0
    for row, line in rows:
        image = line.strip()[:80]
        count += 1
        _, offset, pixel_cells = next(pixel_rows, (0, 0, {}))
        matched += offset > 0
        try:
            cells = csv_rows.cells(line, len(header), mark)
            usage, image = usage_and_image(cells)
            named.add(image)
            if pixel_cells and pixel_cells["Usage"] != usage:
                raise UserError(
                    f"{path}, row {row}: found Usage {usage[:40]}, in the CSV of pixels {pixel_cells['Usage'][:40]}, "
                    "expected: both files in their published order, as they are joined row by row"
                )
            if usage not in USAGES:
                raise Rejection.of("bad_split", repr(usage[:40]), USAGES)
            split = USAGES[usage]
            _check_name(image)
            votes = votes_of(VOTES, vote_cells(cells))
        except Rejection as why:
            listing.reject(VOTES_FILE, row, image, why)
            continue
        others = label_votes.get(split, {}).get(image, [])
        if others and all(votes != other for _, other in others):
            disagreements[split] += 1
        place = f"{FOLDERS[split]}/{image}"
        if pixels and place not in files:
            place = f"{pixels.file}|{offset}"
        listing.add(image[:-4], split, place, VOTES_FILE, row, votes=votes)
    if pixels and (expected := matched + sum(1 for _ in pixel_rows)) != count:
        raise UserError(
            f"{path}: found {count:,} rows, expected: {expected:,}, as many as the CSV of pixels has"
        )
    unnamed = Rejection("no_votes", f"{VOTES_FILE}, whose votes count, has no row for this image")
    for split in labelled:
        for image in label_votes[split].keys() - named:
            for row, _ in label_votes[split][image]:
                listing.reject(f"{FOLDERS[split]}/{LABEL_FILE}", row, image, unnamed)
    if labelled:
        listing.notes["disagreements_with_label_csv"] = disagreements


def _label_rows(
    tree: Tree, split: str, listing: Listing, named: set[str]
) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Yield row, image name and votes of a `label.csv`. Reject its bad rows; `named` takes the names of all rows."""
    file = f"{FOLDERS[split]}/{LABEL_FILE}"
    for row, line in csv_rows.lines(tree, file):
        image = line.split(",")[0].strip()[:80]
        try:
            image, _, *cells = csv_rows.cells(line, 2 + len(VOTES))
            _check_name(image)
            yield row, image, votes_of(VOTES, tuple(cells))
        except Rejection as why:
            listing.reject(file, row, image, why)
        named.add(image)


def _check_name(image: str) -> None:
    if not image:
        raise Rejection("no_image_name", "the row names no image")
    if not _NAME.fullmatch(image):
        raise Rejection.of("bad_image_name", repr(image[:80]), "names like fer0000000.png")
