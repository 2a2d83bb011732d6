"""Class names as data sets spell them, and folders named after classes."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pipeline.intake.guards import Rejection
from pipeline.intake.listing import Listing
from pipeline.intake.tree import Tree
from pipeline.tables.vocabulary import CLASSES

CLASS_OF = {name: name for name in CLASSES} | {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
SPLIT_OF = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "publictest": "valid",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}


def class_name(text: str) -> str:
    """Return the canonical name of a class that a data set spells in its own way: `HAPPINESS`, `happy`.

    Raises:
        Rejection: `unknown_label`.
    """
    name = CLASS_OF.get(text.strip().lower())
    if name is None:
        raise Rejection.of("unknown_label", repr(text[:40]), CLASSES)
    return name


def split_folders(tree: Tree) -> dict[str, str]:
    """Return the split of each folder at the top that is named after one: `{"val": "valid"}`."""
    names = [entry[:-1] for entry in tree.entries() if entry.endswith("/")]
    return {name: SPLIT_OF[name.lower()] for name in names if name.lower() in SPLIT_OF}


def class_folders(tree: Tree, under: str = "") -> list[str]:
    """Return the names of the folders in a folder that are named after classes."""
    names = [entry[:-1] for entry in tree.entries(under) if entry.endswith("/")]
    return [name for name in names if name.strip().lower() in CLASS_OF]


def add_folders(listing: Listing, tree: Tree, under: str, split_of: Callable[[str], str | None]) -> None:
    """Add every file below a folder that holds one folder for each class. A record's name is its place."""
    depth = under.count("/") + 1 if under else 0
    for place in tree.files(under):
        try:
            parts = place.split("/")
            if len(parts) < depth + 2:
                raise Rejection("no_label", "the file lies in no folder named after a class")
            listing.add(place, split_of(place), place, place, 0, label=class_name(parts[depth]))
        except Rejection as why:
            listing.reject(place, 0, place, why)


def reject_others(listing: Listing, tree: Tree, splits: Collection[str]) -> None:
    """Reject every file outside the folders of the splits, which are at the top."""
    why = Rejection(
        "no_split", f"the file is outside {', '.join(splits)}, which hold folders named after classes"
    )
    for place in tree.files():
        if place.split("/")[0] not in splits:
            listing.reject(place, 0, place, why)
