"""FER2013 (Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414): 35,887 faces of 48 x 48 pixels, one label each.

    data/raw/fer2013/
        fer2013.csv            emotion,pixels,Usage
        icml_face_data.csv     the same rows, header names with spaces in front
        train.csv, test.csv    emotion,pixels, and pixels alone
        train/angry/Training_3908.jpg ..., test/angry/PrivateTest_10131363.jpg ...

The first of these that exists is used. `Usage` is the split: Training is train, PublicTest valid, PrivateTest test;
in folders the file's name begins with it. `train.csv` has no splits, so valid and test are drawn from it. The rows of
`test.csv` have no labels and are rejected as `no_label`. Codes of `emotion` are 0 anger, 1 disgust, 2 fear,
3 happiness, 4 sadness, 5 surprise, 6 neutral, which is not the order of the folders. Images of one colour are kept,
because the published counts include them, and counted in the metrics.

An id is `fer2013/<number of the row, from 0, five digits>`, in folders `fer2013/<path>`.
"""

from __future__ import annotations

from pipeline.intake.class_folders import add_below, class_folders, images, reject, split_folders
from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, class_of_code
from pipeline.intake.options import Options
from pipeline.intake.pixel_table import FILES, USAGES, PixelTable, has_pixels
from pipeline.intake.tree import Tree, wrong_tree

_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
CODES = {str(code): name for code, name in enumerate(_NAMES)}
TRAIN, TEST = "train.csv", "test.csv"
_EXPECTED = f"{', '.join(FILES)}, {TRAIN} (and {TEST}), or train/ and test/ with folders like angry/"


def records(tree: Tree, options: Options) -> Listing:
    """List FER2013 in whichever of its published forms lies in `tree`.

    Raises:
        UserError: the tree is none of them, or a file does not hold what its name promises.
    """
    top = tree.entries()
    if file := next((name for name in FILES if name in top), None):
        return _csv_form(PixelTable(tree, file))
    if TRAIN in top and has_pixels(tree, TRAIN):
        listing = _csv_form(PixelTable(tree, TRAIN, ("emotion", "pixels")))
        if TEST in top:
            for number, (row, _, _) in enumerate(PixelTable(tree, TEST, ("pixels",)).rows()):
                why = Rejection("no_label", f"{TEST} is published without labels")
                listing.reject(TEST, row, f"{number:05d}", why)
                listing.expected["no_label"] += 1
        return listing
    names = options.names
    if folders := {f: split for f, split in split_folders(tree).items() if class_folders(tree, names, f)}:
        return _folder_form(tree, names, folders)
    raise wrong_tree(tree, _EXPECTED)


def _csv_form(table: PixelTable) -> Listing:
    published = "Usage" in table.columns
    listing = Listing(table.read, () if published else ("valid", "test"), keep_flat=True)
    for number, (row, offset, cells) in enumerate(table.rows()):
        name = f"{number:05d}"
        try:
            if not cells:
                raise Rejection("bad_row", f"expected {len(table.columns)} cells: {', '.join(table.columns)}")
            if published and cells["Usage"] not in USAGES:
                raise Rejection.of("bad_split", repr(cells["Usage"][:40]), USAGES)
            split = USAGES[cells["Usage"]] if published else None
            place = f"{table.file}|{offset}"
            listing.add(name, split, place, table.file, row, label=class_of_code(cells["emotion"], CODES))
        except Rejection as why:
            listing.reject(table.file, row, name, why)
    return listing


def _folder_form(tree: Tree, names: Names, folders: dict[str, str]) -> Listing:
    named = {_usage(place) for folder in folders for place in tree.files(folder)} - {None}
    missing = [split for split in ("valid", "test") if split not in {*folders.values(), *named}]
    listing = Listing(tree.read, missing, keep_flat=True)
    for folder in folders:
        add_below(listing, tree, names, folder, lambda place: _usage(place) or folders[place.split("/")[0]])
    for place in images(tree):
        if place.split("/")[0] not in folders:
            detail = f"the file is outside {', '.join(folders)}, which hold the images"
            reject(listing, place, "no_split", detail)
    return listing


def _usage(place: str) -> str | None:
    """Return the split that a file's name begins with; Kaggle's test/ holds both valid and test."""
    return USAGES.get(place.rpartition("/")[2].partition("_")[0])
