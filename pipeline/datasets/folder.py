"""Pictures in folders that are named after classes.

    data/raw/folder/
        happiness/   a.jpg ...      or      train/ happiness/ a.jpg ...
        sadness/     b.jpg ...              test/  happiness/ ...

Folder names are class names in upper or lower case: neutral happiness surprise sadness anger disgust fear contempt,
or the adjectives (`Happy`). Folders above them may name splits: train, training, val, valid, validation, test, testing.
A split without a folder is drawn from the training pictures. A class's folder may have folders inside it. A file in a
folder of another name is rejected.

An id is `folder/<path>`.
"""

from __future__ import annotations

from pipeline.intake.classes import add_folders, class_folders, reject_others, split_folders
from pipeline.intake.listing import Listing
from pipeline.intake.tree import Tree, wrong_tree

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
        reject_others(listing, tree, splits)
        return listing
    if not class_folders(tree):
        raise wrong_tree(tree, _EXPECTED)
    listing = Listing(tree.read, ("valid", "test"))
    add_folders(listing, tree, "", lambda _: None)
    return listing
