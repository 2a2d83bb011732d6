"""Folders named after classes, with folders of splits above or below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.intake.guards import Rejection, is_document
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, split_name
from pipeline.intake.tree import Tree


def class_folders(tree: Tree, names: Names, under: str = "") -> list[str]:
    """Return the names of the folders in a folder that are named after classes."""
    return [name for name in folders(tree, under) if names.get(name)]


def split_folders(tree: Tree) -> dict[str, str]:
    """Return the split of each folder at the top that is named after one: `{"val": "valid"}`."""
    return {name: split for name in folders(tree) if (split := split_name(name))}


def folders(tree: Tree, under: str = "") -> list[str]:
    """Return the names of the folders in a folder."""
    return [entry[:-1] for entry in tree.entries(under) if entry.endswith("/")]


def images(tree: Tree, under: str = "") -> Iterator[str]:
    """Yield the places of all files below a folder that are no documents."""
    return (place for place in tree.files(under) if not is_document(place))


def add(
    listing: Listing, names: Names, place: str, label: str, split: str | None, group: str | None = None
) -> None:
    """Add a file whose label is a folder's name; its record's name is its place."""
    try:
        listing.add(place, split, place, place, 0, label=names.label(label), group=group)
    except Rejection as why:
        listing.reject(place, 0, place, why)


def add_below(
    listing: Listing, tree: Tree, names: Names, under: str, split_of: Callable[[str], str | None]
) -> None:
    """Add every image below a folder that holds one folder for each class."""
    depth = under.count("/") + 1 if under else 0
    for place in images(tree, under):
        parts = place.split("/")
        if len(parts) < depth + 2:
            reject(listing, place, "no_label", "the file lies in no folder named after a class")
        else:
            add(listing, names, place, parts[depth], split_of(place))


def reject_unlabelled(listing: Listing, tree: Tree, place: str, detail: str) -> None:
    """Reject a file in no folder named after a class. A link to a folder outside the tree is named as such."""
    why = Rejection("no_label", detail)
    if "." not in place.rpartition("/")[2]:
        try:
            tree.read(place)
        except Rejection as link:
            why = link if link.reason == "outside_folder" else why
    listing.reject(place, 0, place, why)


def reject(listing: Listing, place: str, reason: str, detail: str) -> None:
    """Reject a file."""
    listing.reject(place, 0, place, Rejection(reason, detail))
