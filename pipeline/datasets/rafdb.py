"""RAF-DB, basic expressions (Li et al. 2017, Reliable Crowdsourcing and Deep Locality-Preserving Learning).

    data/raw/rafdb/                        as published by its authors, with the archives in it unpacked
        EmoLabel/list_patition_label.txt   (the misspelling is theirs) train_00001.jpg 5
        Image/original/                    train_00001.jpg ...
        Image/aligned/                     train_00001_aligned.jpg ..., 100 x 100 pixels
        Annotation/manual/                 train_00001_manu_attri.txt ...: five landmarks, gender, race, age
        Annotation/boundingbox/            train_00001_boundingbox.txt ...: x1 y1 x2 y2

or the form that circulates on Kaggle:

    data/raw/rafdb/
        DATASET/train/1/ ... 7/            train_00001_aligned.jpg ...
        DATASET/test/1/ ... 7/             test_0001_aligned.jpg ...
        train_labels.csv, test_labels.csv  with a header: image,label

Codes are 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral. An id is
`rafdb/<name of the original without .jpg>`, `rafdb/train_00001`, in every form. `train` and `test` are published;
`valid` is drawn from `train`.

`ingest.rafdb` chooses the images: `original`, or `aligned`, the authors' own alignment, which most papers use. A run
never mixes the two. The metrics name the images that were read and count those of the other kind; one folder of
images is enough. `align` can cut the originals at any size, as it does with other data sets. The published landmarks
and boxes belong to the originals, so with `align.landmarks: given` no detector is needed. For the aligned images, set
`align.modes: {rafdb: none}`. The folder `Annotation` may be missing. `Annotation/auto` (37 landmarks, found by a
program) is not used.

`Annotation/manual` gives three attributes, for `evaluate.groups`: `gender` (0 male, 1 female; 2, unsure, is unknown),
`race` (0 Caucasian, 1 African-American, 2 Asian) and `age` (0 0-3, 1 4-19, 2 20-39, 3 40-69, 4 70+). A line with
another code is counted, and the attribute is unknown.

In Kaggle's form each row of a CSV file is a record, and its image must be in the folder of its label. In a split
without a CSV file each image in the folders is a record. The images are the aligned ones, so it needs
`ingest.rafdb: aligned`.

Lists with codes 0 to 6 circulate too. There, 1 to 6 stand for other classes than here. So lists, or folders, with the
code 0 are refused as a whole.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.cell_table import CellTable
from pipeline.intake.guards import Rejection
from pipeline.intake.landmarks import as_seen, numbers
from pipeline.intake.listing import Listing
from pipeline.intake.names import class_of_code
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, WrongTree, wrong_tree

CODES = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
# Lines 6 to 8 of an image's annotation. An empty value: the annotators could not tell.
ATTRIBUTES = {
    "gender": {"0": "male", "1": "female", "2": ""},
    "race": {"0": "Caucasian", "1": "African-American", "2": "Asian"},
    "age": {"0": "0-3", "1": "4-19", "2": "20-39", "3": "40-69", "4": "70+"},
}
LABEL_FILE = "EmoLabel/list_patition_label.txt"
KAGGLE = "DATASET"
SPLITS = ("train", "test")
_ZERO = re.compile(r"[+-]?0+(\.0*)?", re.ASCII)
_NAME = re.compile(r"((train|test)_\d{1,9})(?:_aligned)?\.jpg", re.ASCII)
_EXPECTED = (
    f"{LABEL_FILE} with Image/original/ or Image/aligned/, or {KAGGLE}/train/1/ to 7/ and {KAGGLE}/test/ with "
    "train_labels.csv and test_labels.csv"
)


def records(tree: Tree, options: Options) -> Listing:
    """List RAF-DB in whichever of its two forms lies in `tree`.

    Raises:
        UserError: the tree is neither or lacks these images, or a list of labels cannot be read or has the code 0.
    """
    official, images = tree.has(LABEL_FILE), options.rafdb
    if official:
        kinds = [kind for kind in ("original", "aligned") if tree.entries(f"Image/{kind}")]
    else:
        kinds = ["aligned"] if any(tree.entries(f"{KAGGLE}/{split}") for split in SPLITS) else []
    if not kinds:
        raise wrong_tree(tree, _EXPECTED)
    if images not in kinds:
        found = f"only the {kinds[0]} images while ingest.rafdb is {images}"
        raise WrongTree.of(tree.address, found, f"ingest.rafdb: {kinds[0]}, or a tree with Image/{images}/")
    return _official(tree, images) if official else _kaggle(tree)


def _official(tree: Tree, kind: str) -> Listing:
    listing = Listing(tree.read, draw=("valid",))
    folders = tree.entries("Annotation")
    # Landmarks and boxes are those of the originals.
    wanted = ("manual", "boundingbox") if kind == "original" else ("manual",)
    absent = {folder: 0 for folder in wanted if f"{folder}/" in folders}
    ignored: Counter[str] = Counter()
    named = set()
    for row, line in csv_rows.lines(tree, LABEL_FILE):
        image, *rest = line.split() or [""]  # a line may hold a form feed alone
        try:
            stem, split = _parsed(image)
            named.add(stem)
            if len(rest) != 1:
                raise Rejection(
                    "bad_row", f"found {line.strip()[:80]!r}, expected: an image's name and a code"
                )
            label = _label(rest[0], f"{tree.address}/{LABEL_FILE}, row {row}")
        except Rejection as why:
            listing.reject(LABEL_FILE, row, image, why)
            continue
        landmarks = box = attributes = None
        if "manual" in absent:
            lines = _annotation(tree, f"Annotation/manual/{stem}_manu_attri.txt")
            absent["manual"] += lines is None
            if lines is not None:
                landmarks = _landmarks(lines) if kind == "original" else None
                attributes = _attributes(lines, ignored)
        if "boundingbox" in absent:
            box = _box(tree, stem)
            absent["boundingbox"] += box is None
        place = f"Image/{kind}/{stem}{'_aligned' * (kind == 'aligned')}.jpg"
        listing.add(
            stem,
            split,
            place,
            LABEL_FILE,
            row,
            label=label,
            box=box,
            landmarks=landmarks,
            attributes=attributes,
        )
    listing.notes["images"] = kind
    other = "aligned" if kind == "original" else "original"
    listing.notes[f"{other}_not_read"] = sum(
        match is not None for match, _ in _images(tree, f"Image/{other}")
    )
    if absent:
        listing.notes["annotations_absent"] = absent
    if ignored:
        listing.notes["attributes_ignored"] = dict(sorted(ignored.items()))
    listing.notes["images_without_row"] = sum(
        match[1] not in named for match, _ in _images(tree, f"Image/{kind}") if match
    )
    return listing


def _landmarks(lines: list[str]) -> list[float]:
    """Return the five landmarks marked by hand; NaN if the lines hold something else."""
    points = [numbers(line.split()) for line in lines[:5]]
    return as_seen(np.array(points)) if list(map(len, points)) == [2] * 5 else [np.nan] * 10


def _attributes(lines: list[str], ignored: Counter[str]) -> dict[str, str]:
    """Return the known attributes by name; count those without a published code in `ignored`."""
    known = {}
    for (name, values), code in zip(ATTRIBUTES.items(), [*lines[5:8], "", "", ""], strict=False):
        value = values.get(code.strip())
        if value is None:
            ignored[name] += 1
        elif value:
            known[name] = value
    return known


def _box(tree: Tree, stem: str) -> list[float] | None:
    """Return the published box; NaN if the file holds something else, None if there is no file."""
    lines = _annotation(tree, f"Annotation/boundingbox/{stem}_boundingbox.txt")
    if lines is None:
        return None
    corners = numbers(" ".join(lines).split())
    return corners if len(corners) == 4 else [np.nan] * 4


def _annotation(tree: Tree, place: str) -> list[str] | None:
    """Return the lines of a small text file, None if there is no file."""
    try:
        return tree.read(place)[:10_000].decode("utf-8", "replace").splitlines()
    except Rejection as why:
        return None if why.reason == "missing_image" else []


def _kaggle(tree: Tree) -> Listing:
    listing = Listing(tree.read, draw=("valid",))
    unnamed = 0
    for split in SPLITS:
        folder, file = f"{KAGGLE}/{split}", f"{split}_labels.csv"
        images = _images(tree, folder)
        if not tree.has(file):
            for _, place in images:
                code, _, image = place.removeprefix(f"{folder}/").rpartition("/")
                try:
                    stem = _stem(image, split)
                    label = _label(code, f"{tree.address}/{place}")
                    listing.add(stem, split, place, place, 0, label=label)
                except Rejection as why:
                    listing.reject(place, 0, image, why)
            continue
        named = _kaggle_rows(tree, split, {place for _, place in images}, listing)
        unnamed += sum(place.rpartition("/")[2] not in named for _, place in images)
    listing.notes["images"] = "aligned"
    listing.notes["images_without_row"] = unnamed
    return listing


def _kaggle_rows(tree: Tree, split: str, places: set[str], listing: Listing) -> set[str]:
    """Add the rows of a split's CSV; return the names in them."""
    file, named = f"{split}_labels.csv", set()
    table = CellTable(tree, file, "image, label")
    image_column, label_column = table.required("image"), table.required("label")
    for row, line, cells in table.rows():
        image = line.strip()[:80]
        try:
            if isinstance(cells, Rejection):
                raise cells
            image, code = cells[image_column], cells[label_column]
            named.add(image)
            stem = _stem(image, split)
            label = _label(code, f"{tree.address}/{file}, row {row}")
            place = f"{KAGGLE}/{split}/{code}/{image}"
            others = (other for other in CODES if f"{KAGGLE}/{split}/{other}/{image}" in places)
            if place not in places and (other := next(others, None)):
                raise Rejection("contradicting_label", f"found the label {code}, the image lies in {other}/")
            listing.add(stem, split, place, file, row, label=label)
        except Rejection as why:
            listing.reject(file, row, image, why)
    return named


def _images(tree: Tree, folder: str) -> list[tuple[re.Match[str] | None, str]]:
    """Return the parsed name and the place of each .jpg file below a folder, sorted by place."""
    names = ((place.rpartition("/")[2], place) for place in sorted(tree.files(folder)))
    return [(_NAME.fullmatch(name), place) for name, place in names if re.fullmatch(r"[^.].*\.jpg", name)]


def _parsed(image: str) -> tuple[str, str]:
    """Return the two parts of an image's name: the record's name and the split."""
    match = _NAME.fullmatch(image)
    if not match:
        raise Rejection.of("bad_image_name", repr(image[:80]), "names like train_00001.jpg")
    return match[1], match[2]


def _stem(image: str, split: str) -> str:
    stem, named = _parsed(image)
    if named != split:
        raise Rejection.of("bad_split", f"{image[:80]!r} in {split}", f"names that begin with {split}_")
    return stem


def _label(code: str, source: str) -> str:
    """Return the class of a code. `source` is where it stands, for the error about codes that count from 0."""
    allowed = ", ".join(f"{number} {name}" for number, name in CODES.items())
    if _ZERO.fullmatch(code):
        raise UserError.of(
            source, f"the code {code}: codes that count from 0 stand for other classes", allowed
        )
    return class_of_code(code, CODES)
