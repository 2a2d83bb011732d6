"""From an address to the tree that lies there."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.intake.archive import archive
from pipeline.intake.bucket import Bucket
from pipeline.intake.folder import Folder
from pipeline.intake.tree import Tree
from pipeline.tables.storage import is_remote


def open_tree(address: str | Path) -> Tree:
    """Return the tree at a path or an `s3://` address.

    A folder that holds one archive and nothing else, or a file that is one, stands for what is in the archive.

    Raises:
        UserError: there is nothing of that kind.
    """
    if is_remote(address):
        return Bucket(str(address))
    path = Path(address)
    try:
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            if len(entries) != 1 or not entries[0].is_file():
                return Folder(path)
            return archive(entries[0]) or Folder(path)
        if path.is_file():
            if opened := archive(path):
                return opened
            found = "a file that is no archive (.zip, .tar, .tar.gz)"
        else:
            found = f"a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "nothing"
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    raise UserError(
        f"{path}: found {found}, expected: the data set's folder, an archive of it, or a symbolic link to either"
    )
