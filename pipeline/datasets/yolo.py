"""Images with boxes in YOLO's form, as Roboflow exports them: each face has a box and an expression.

    data/raw/yolo/
        data.yaml                         names: [angry, happy, ...], or {0: angry, 1: happy, ...}
        train/images/ train/labels/       a.jpg ... and a.txt ...; or images/train/ labels/train/
        valid/images/ valid/labels/       the same
        test/images/ test/labels/         the same

Each line of a .txt file is a face: the number of its class, then the centre, the width and the height of its box, as
shares of the image's width and height. A longer line is an outline: the face is in the box around it. (With
`kpt_shape` in data.yaml, what follows the box are key points, which are not used.) A .txt file may also lie beside its
image. Without data.yaml, the lines of classes.txt, at the top or in labels/, are the names of the classes.

The split is the name of a folder. If folders have other names, `train`, `val` and `test` in data.yaml give it, for a
folder or for the images in a list. Their paths are often wrong, so the longest end of a path that exists here counts.
What both `train` and `val` name is `train`. Splits that do not occur are drawn.

An image without a .txt file, or with an empty one, is rejected as `no_label`. Empty files, which mean that there is
nothing to find, do not count as mistakes.

An id is `yolo/<path of the image>`; of an image with several faces it ends in `#<x1>,<y1>,<x2>,<y2>`, in shares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline.core import yaml
from pipeline.core.errors import UserError, printable
from pipeline.intake import csv_rows
from pipeline.intake.class_folders import images
from pipeline.intake.face_rows import FaceRow, add_faces, corners_of
from pipeline.intake.guards import Rejection
from pipeline.intake.landmarks import numbers
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, split_in
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

IMAGES, LABELS = "images", "labels"
CLASSES = "classes.txt"  # some programs write the names of the classes among the labels
_CONFIGS = ("data.yaml", "data.yml")
_KEYS = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}
_EXPECTED = "data.yaml with names, train/images/ and train/labels/ (or images/train/ and labels/train/)"


class _Config(NamedTuple):
    """What `data.yaml` says.

    Attributes:
        names: of classes, by number.
        keypoints: whether key points follow the boxes.
        folders: split by place of a folder.
        listed: split by place of an image.
    """

    names: dict[int, str]
    keypoints: bool
    folders: dict[str, str]
    listed: dict[str, str]


def records(tree: Tree, options: Options) -> Listing:
    """List the faces in all label files, and reject the images and the lines that stand alone.

    Raises:
        UserError: there is no data.yaml with names, or nothing knows any of the names.
    """
    files = set(tree.files())
    config = _config(tree, files)
    listing = Listing(tree.read, face_boxes="shares")
    images_of: dict[str, str] = {}
    # Of images with one label file, one in a folder of images comes first.
    for place in sorted(images(tree), key=lambda place: (f"/{IMAGES}/" not in f"/{place}", place)):
        label = next((label for label in _labels_of(place) if label in files), None)
        if label is None:
            why = Rejection("no_label", f"found no {' or '.join(_labels_of(place))}")
            listing.reject(place, 0, place, why)
        elif other := images_of.get(label):
            listing.reject(place, 0, place, Rejection("no_label", f"{label} is about {other}"))
        else:
            images_of[label] = place
            _add(listing, tree, place, label, config, options.names)
    for label in sorted(place for place in files if _is_label(place) and place not in images_of):
        _alone(listing, tree, label)
    options.names.check(tree.address)
    listing.draw_others()
    return listing


# ----------------------------------------------------------------------------------------------------- data.yaml


def _config(tree: Tree, files: set[str]) -> _Config:
    """Return what `data.yaml` says, or the only other YAML file at the top, or else `classes.txt`."""
    top = [name for name in tree.entries() if name.lower().endswith((".yaml", ".yml"))]
    known = [name for name in _CONFIGS if name in top] or top
    if not top and (place := next((p for p in (CLASSES, f"{LABELS}/{CLASSES}") if p in files), None)):
        if not any(map(_is_label, files)):
            raise wrong_tree(tree, _EXPECTED)
        return _Config({row - 1: line.strip() for row, line in csv_rows.lines(tree, place)}, False, {}, {})
    if not known or (known == top and len(top) > 1):
        raise wrong_tree(tree, _EXPECTED)
    with tree.open(known[0]) as file:
        text = file.read(yaml.MOST_BYTES + 1).decode("utf-8", "replace")
    path = f"{tree.address}/{known[0]}"
    content = yaml.parse(text, path)
    if not isinstance(content, dict) or "names" not in content:
        raise wrong_tree(tree, _EXPECTED)
    folders: dict[str, str] = {}
    listed: dict[str, str] = {}
    for key, split in _KEYS.items():
        values = content.get(key)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                folder = _existing(value, lambda place: bool(tree.entries(place)))
                file_list = _existing(value, lambda place: place in files and place.endswith(".txt"))
                if folder:
                    folders.setdefault(folder, split)  # what several name is not split: `train` comes first
                elif file_list:
                    lines = (line for _, line in csv_rows.lines(tree, file_list))
                    listed = {_existing(line, files.__contains__): split for line in lines} | listed
    return _Config(_names(content["names"], path), "kpt_shape" in content, folders, listed)


def _names(content: Any, path: str) -> dict[int, str]:
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    try:
        names = {int(number): str(name) for number, name in pairs}
    except (ValueError, TypeError):
        names = {}
    if not names:
        raise UserError(f"{path}: found names {str(content)[:80]}, expected: a list of the names of classes")
    return names


def _existing(path: str, exists: Callable[[str], bool]) -> str:
    """Return the longest end of a path that exists in the tree; "" if none does."""
    parts = [part for part in re.split(r"[/\\]", printable(path.strip())) if part not in ("", ".", "..")]
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if exists(end)), "")


# -------------------------------------------------------------------------------------------------------- labels


def _labels_of(image: str) -> list[str]:
    """Return where the label file of an image may be."""
    stem = re.sub(r"\.[^./]*$", "", image)
    before, images, after = f"/{stem}".rpartition(f"/{IMAGES}/")
    beside = f"{stem}.txt"
    return [f"{before}/{LABELS}/{after}.txt".removeprefix("/"), beside] if images else [beside]


def _is_label(place: str) -> bool:
    """Return whether a file is, by its place, one of labels."""
    *folders, name = place.split("/")
    return LABELS in folders and name.endswith(".txt") and name != CLASSES


def _add(listing: Listing, tree: Tree, place: str, label: str, config: _Config, names: Names) -> None:
    """Add the faces in an image."""
    split, rows = _split(place, config), []
    try:
        lines = _lines(tree, label)
        if not lines:
            listing.expected["no_label"] += 1
            raise Rejection("no_label", f"{label} names no face")
    except Rejection as why:
        return listing.reject(place, 0, place, why, label)
    for row, line in lines:
        try:
            name, box = _face(line, config)
            rows.append(FaceRow(label, row, place, split, None, box, names.label(name)))
        except Rejection as why:
            listing.reject(label, row, place, why, place)
    add_faces(listing, rows)


def _alone(listing: Listing, tree: Tree, label: str) -> None:
    """Reject the faces in a label file without an image."""
    try:
        lines = _lines(tree, label)
    except Rejection as why:
        return listing.reject(label, 0, label, why)
    alone = Rejection("missing_image", f"found no image of this name in {IMAGES}/")
    for row, line in lines:
        listing.reject(label, row, line, alone)


def _split(place: str, config: _Config) -> str | None:
    folder = place.rpartition("/")[0]
    inside = [name for name in config.folders if f"{folder}/".startswith(f"{name}/")]
    of_folder = config.folders[max(inside, key=len)] if inside else None
    return split_in(folder) or config.listed.get(place) or of_folder


def _lines(tree: Tree, label: str) -> list[tuple[int, str]]:
    """Return the number and the text of each line that is not empty.

    Raises:
        Rejection: the file cannot be read.
    """
    text = tree.read(label).decode("utf-8-sig", "replace")
    return [(row, line) for row, line in enumerate(text.splitlines(), 1) if line.strip()]


def _face(line: str, config: _Config) -> tuple[str, tuple[float, ...]]:
    """Return the name of the class and the box in a line, in shares of the image's width and height."""
    values = numbers(line.split())
    code, points = values[0], values[1:5] if config.keypoints else values[1:]
    if len(points) < 4 or len(points) % 2 or any(value != value for value in values):
        expected = "the number of a class and 4 numbers of a box, or 6 or more of an outline"
        raise Rejection("bad_row", f"found {line[:60]!r}, expected: {expected}")
    if code not in config.names:
        allowed = ", ".join(f"{number} {name}" for number, name in config.names.items())
        raise Rejection.of("unknown_label", f"{code:g}", allowed[:200])
    if len(points) == 4:
        x, y, width, height = points
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    else:
        corners = [min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])]
    return config.names[int(code)], corners_of(corners)
