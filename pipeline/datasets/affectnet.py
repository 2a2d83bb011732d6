"""AffectNet (Mollahosseini et al. 2017): faces from the web with manual labels, in the form of 2017 or of 2021.

    data/raw/affectnet/
        training.csv, validation.csv       or in Manually_Annotated_file_lists/
        Manually_Annotated_Images/         1/ 2/ ... with the images; or in Manually_Annotated/, or beside the lists

or the form that the authors have sent out since 2021 (AffectNet-8, images of 224 x 224 pixels):

    data/raw/affectnet/
        train_set/images/                  0.jpg 1.jpg ...
        train_set/annotations/             0_exp.npy 0_lnd.npy (and _val, _aro: valence and arousal, not used) ...
        val_set/                           the same

The columns of the lists are subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks (68 x;y),
expression, valence, arousal. `validation.csv` circulates with and without a header. Without one the columns are in
this order.

Codes are 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; 9 (uncertain) is
`unknown` and 10 (no face) is `NF`. 8 is "none of these expressions", which is neither a class nor "cannot tell": those
rows are rejected as `other_expression`.

An id is `affectnet/<subDirectory_filePath>`, `affectnet/689/737db2.jpg`, or `affectnet/train_set/0`. A name may occur
in several rows. The first row counts, the others are rejected as `duplicate_name`. The rows of validation come before
those of training, so the published `valid` is whole and none of its images is trained on.

`train` and `valid` are published. Most papers score `valid`; here `valid` also chooses the epoch, so it cannot measure
the chosen model fairly. `labels.published_valid` has the three protocols:

* nothing: `valid` is the published split, and `test` is drawn from `train`. With `labels.test: 500`, all splits
  have the sizes of the weighted-cluster paper's table 3: 500 images of each class in `valid` and in `test`.
* `{affectnet: test}`: the published split is `test`, for comparison with most papers. `valid` is drawn from `train`.
* `{affectnet: drop}`: both are drawn from `train`.

Every record has a box and landmarks, which are reduced to five. `face_width` and `face_height` are read as a width and
a height. Negative widths occur, and public loaders disagree on the meaning. So a box or landmarks that do not lie in
the image are dropped and counted; the record stays.
"""

from __future__ import annotations

import io
import math
import re
from itertools import chain
from operator import itemgetter

import numpy as np

from pipeline.core.errors import one_line
from pipeline.intake import csv_rows
from pipeline.intake.guards import Rejection
from pipeline.intake.landmarks import five, numbers
from pipeline.intake.listing import Listing
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

LABELS: dict[float, str] = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
    9: "unknown",
    10: "NF",
}
NONE = 8
# Of two rows with one name, the one in the first list counts.
LISTS = {"valid": "validation.csv", "train": "training.csv"}
FOLDERS = {"valid": "val_set", "train": "train_set"}
COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_USED = COLUMNS[:7]
_LISTS_IN = ("", "Manually_Annotated_file_lists/")
_IMAGES_IN = (
    "Manually_Annotated_Images/",
    "Manually_Annotated/Manually_Annotated_Images/",
    "Manually_Annotated/",
)
_NAME = re.compile(r"\d{1,9}/[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*", re.ASCII)
_MOST_BYTES = 10_000  # of a .npy file: 68 points take 1,088, numpy's header no more than that
_EXPECTED = (
    "training.csv and validation.csv with the images in Manually_Annotated_Images/1/ ..., or train_set/ and "
    "val_set/ with images/ and annotations/"
)


def records(tree: Tree, options: Options) -> Listing:
    """List AffectNet in whichever of its two forms lies in `tree`.

    Raises:
        UserError: the tree is neither, or both, or a list cannot be read.
    """
    lists = next((folder for folder in _LISTS_IN if _listed_splits(tree, folder)), None)
    sets = {split: name for split, name in FOLDERS.items() if "annotations/" in tree.entries(name)}
    listing, named = Listing(tree.read, draw=("test",)), set[str]()
    if lists is not None and not sets:
        images = next(
            (folder for folder in (*_IMAGES_IN, lists, "") if _has_numbered_folder(tree, folder)), None
        )
        if images is None:
            raise wrong_tree(tree, _EXPECTED)
        for split in _listed_splits(tree, lists):
            _add_list(tree, f"{lists}{LISTS[split]}", split, images, listing, named)
        inside = (place.removeprefix(images) for place in tree.files(images.rstrip("/")))
        places = (place for place in inside if _NAME.fullmatch(place))
    elif sets and lists is None:
        for split, folder in sets.items():
            _add_set(tree, folder, split, listing, named)
        inside = (place for folder in sets.values() for place in tree.files(f"{folder}/images"))
        places = (place for place in inside if place.endswith(".jpg"))
    else:
        raise wrong_tree(tree, _EXPECTED)
    listing.notes["images_without_row"] = sum(place not in named for place in places)
    return listing


def _listed_splits(tree: Tree, folder: str) -> list[str]:
    """Return the splits whose lists lie in a folder."""
    return [split for split, name in LISTS.items() if tree.has(f"{folder}{name}")]


def _has_numbered_folder(tree: Tree, folder: str) -> bool:
    return any(name.endswith("/") and name[:-1].isdecimal() for name in tree.entries(folder.rstrip("/")))


# --------------------------------------------------------------------------------------------- the lists of 2017


def _add_list(tree: Tree, file: str, split: str, images: str, listing: Listing, named: set[str]) -> None:
    """Add the rows of a list, one at a time: training.csv has half a gigabyte."""
    rows = csv_rows.lines(tree, file)
    first = next(rows, (0, ""))
    rows = chain([first], rows)
    names, mark = list(COLUMNS), ","
    if COLUMNS[0] in first[1] or not first[1]:
        names, mark = csv_rows.header(tree, file, rows, _USED)
    used = itemgetter(*map(names.index, _USED))
    for row, line in rows:
        image = line.strip()[:80]
        try:
            image, *corner_and_size, points, code = used(csv_rows.cells(line, len(names), mark))
            if not _NAME.fullmatch(image):
                raise Rejection.of("bad_image_name", repr(image[:80]), "names like 689/737db2.jpg")
            named.add(image)
            listing.add(
                image,
                split,
                images + image,
                file,
                row,
                label=_label(code),
                box=_box(corner_and_size),
                landmarks=_landmarks(points),
            )
        except Rejection as why:
            listing.reject(file, row, image, why)


def _box(cells: list[str]) -> list[float] | None:
    if not any(map(_is_given, cells)):
        return None
    x, y, width, height = numbers(cells)
    return [x, y, x + width, y + height]


def _landmarks(cell: str) -> list[float] | None:
    if not _is_given(cell):
        return None
    points = numbers(cell.split(";"))
    return five(np.array(points)) if len(points) == 136 else [math.nan] * 10


def _is_given(cell: str) -> bool:
    return cell.upper() not in ("", "NULL", "NAN")


def _label(code: str) -> str:
    (number,) = numbers([code])
    if number == NONE:
        raise Rejection("other_expression", f"found the code {NONE}: an expression that is none of the eight")
    if number not in LABELS:
        allowed = ", ".join(f"{code:.0f} {name}" for code, name in LABELS.items())
        raise Rejection.of("unknown_label", repr(code[:40]), allowed)
    return LABELS[number]


# ------------------------------------------------------------------------------------------- the folders of 2021


def _add_set(tree: Tree, folder: str, split: str, listing: Listing, named: set[str]) -> None:
    """Add the images with annotations in a folder."""
    for file in tree.files(f"{folder}/annotations"):
        name = file.rpartition("/")[2].removesuffix("_exp.npy")
        if not file.endswith("_exp.npy") or name.startswith("."):
            continue
        image = f"{folder}/images/{name}.jpg"
        named.add(image)
        try:
            label = _label(_text(_array(tree, file)))
            landmarks = _points(tree, f"{folder}/annotations/{name}_lnd.npy")
            listing.add(f"{folder}/{name}", split, image, file, 0, label=label, landmarks=landmarks)
        except Rejection as why:
            listing.reject(file, 0, f"{folder}/{name}", why)


def _text(values: np.ndarray) -> str:
    """Return the one value of an array as text; AffectNet's arrays hold strings."""
    if values.size != 1:
        raise Rejection("unknown_label", f"found {values.size} values, expected: one")
    value = values.item()
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _points(tree: Tree, place: str) -> list[float] | None:
    """Return five landmarks; NaN if the file does not hold 68 points, None if there is no file."""
    try:
        points = _array(tree, place)
    except Rejection as why:
        return None if why.reason == "missing_image" else [math.nan] * 10
    if points.size != 136 or points.dtype.kind not in "fiu":
        return [math.nan] * 10
    return five(points.astype(np.float64))


def _array(tree: Tree, place: str) -> np.ndarray:
    """Return the array in a .npy file. A pickle in it is never loaded.

    Raises:
        Rejection: `bad_annotation` if the file holds no plain array, has not the size that its header claims, or is
            larger than any of AffectNet's; or the reasons of `Tree.read`.
    """
    data = tree.read(place)
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"found {len(data):,} bytes, allowed: {_MOST_BYTES:,}")
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(file)
        # A header can claim terabytes, and numpy would allocate them before reading.
        if math.prod(shape) * kind.itemsize != len(data) - file.tell():
            raise ValueError(f"found {len(data) - file.tell():,} bytes, the header says {shape} of {kind}")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header can make the parser raise anything
        raise Rejection("bad_annotation", f"{place}: {one_line(error)}") from None
