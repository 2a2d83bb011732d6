"""Pictures in folders that are named after classes.

    data/raw/folder/
        happiness/   a.jpg ...      or      train/ happiness/ a.jpg ...
        sadness/     b.jpg ...              test/  happiness/ ...

Folder names are class names in any case (`happiness`, `Happy`): neutral happiness surprise sadness anger disgust
fear contempt, or the adjectives. With split folders above them (train, val, valid, validation, test) these are the
splits; a split without a folder is drawn from the training pictures. Folders inside a class's folder are allowed.
A file in a folder of another name is rejected and listed.

A picture's id is `folder/<path>`.
"""

from __future__ import annotations

from pipeline.intake.classes import add_folders, class_folders, split_folders
from pipeline.intake.listing import Listing
from pipeline.intake.tree import Tree, wrong

_EXPECTED = "one folder for each class (happiness/, sadness/, ...), or train/ and test/ that hold them"


def records(tree: Tree) -> Listing:
    """List every file.

    Raises:
        UserError: there is no folder named after a class.
    """
    splits = {folder: split for folder, split in split_folders(tree).items() if class_folders(tree, folder)}
    if splits:
        listing = Listing(tree.read, [split for split in ("valid", "test") if split not in splits.values()])
        for folder in splits:
            add_folders(listing, tree, folder, lambda place: splits[place.split("/")[0]])
        return listing
    if not class_folders(tree):
        raise wrong(tree, _EXPECTED)
    listing = Listing(tree.read, ("valid", "test"))
    add_folders(listing, tree, "", lambda _: None)
    return listing
