"""Images in folders that are named after classes.

    data/raw/folder/
        happiness/   a.jpg ...      or      train/ happiness/ ...      or      happiness/ train/ ...
        sadness/     b.jpg ...              test/  happiness/ ...                         test/  ...

Classes and splits may be spelled in many ways: `Happy`, `0_angry`, `Training`, `val`, `PublicTest`; `ingest.names` maps
any other name of a class. A split without a folder is drawn from the training images. A class's folder may have
folders inside it. All other images are rejected. If there are folders of splits, so are the images outside of them.

An id is `folder/<path>`.
"""

from __future__ import annotations

from pipeline.core.errors import UserError
from pipeline.intake.class_folders import add, folders, images, reject, reject_unlabelled
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, UnknownNames, split_name
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree

_EXPECTED = (
    "one folder for each class (happiness/, sadness/, ...), also in train/ and test/, or with these inside"
)


def records(tree: Tree, options: Options) -> Listing:
    """List every image.

    Raises:
        UserError: there is no folder named after a class.
    """
    names = options.names
    inside = {name: folders(tree, name) for name in folders(tree)}
    # The split of each folder above or below those of classes, by its place.
    above = {n: split for n in inside if (split := split_name(n)) and inside[n]}
    if not any(names.get(name) for n in above for name in inside[n]):
        above = {}
    classes = [name for name in inside if name not in above and names.get(name)]
    below = {f"{n}/{f}": split for n in classes for f in inside[n] if (split := split_name(f))}
    if not above and not classes:
        raise _no_class(tree, names, inside)
    splits = above | below
    listing = Listing(tree.read)
    outside = f"the file is outside {', '.join(f'{name}/' for name in splits)[:200]}, which hold the images"
    for place in images(tree):
        first, second, *_ = [*place.split("/")[:-1], "", ""]
        if first in above and second:
            add(listing, names, place, second, above[first])
        elif splits and f"{first}/{second}" not in below and first not in above:
            reject(listing, place, "no_split", outside)
        elif not first or first in above:
            reject_unlabelled(listing, tree, place, "the file lies in no folder named after a class")
        else:
            add(listing, names, place, first, below.get(f"{first}/{second}"))
    listing.draw_others()
    of_classes = [*classes, *(f"{n}/{f}" for n in above for f in inside[n] if names.get(f))]
    if empty := [folder for folder in of_classes if not any(images(tree, folder))]:
        listing.notes["empty_folders"] = ", ".join(empty)
    return listing


def _no_class(tree: Tree, names: Names, inside: dict[str, list[str]]) -> UserError:
    """Return the error for a tree in which no folder has a known name of a class."""
    filled = [name for name in inside if any(images(tree, name))]
    of_splits = [name for name in filled if split_name(name)]
    above = [name for name in filled if any(map(names.get, inside[name]))]
    # Folders of people in those of splits, or data sets beside each other.
    parts = ([*place.split("/")[:-1], "", "", ""] for place in images(tree))
    above += sorted({f"{first}/{second}" for first, second, third, *_ in parts if names.get(third)})
    if above and len(filled) > 1:
        found = f"folders of classes in {', '.join(f'{name}/' for name in above)[:200]}"
        return UserError(
            f"{tree.address}: found {found}, expected: {_EXPECTED}; a table can name people (group)"
        )
    unknown = {below for split in of_splits for below in inside[split]} if of_splits else {*filled}
    unknown -= {"images", "labels"}  # of YOLO
    if above or len(unknown) < 2:
        return wrong_tree(tree, _EXPECTED)
    return UnknownNames(tree.address, sorted(unknown))
