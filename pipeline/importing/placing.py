"""Put a person's files where the stages look for them, and write the settings that they need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, one_line, printable
from pipeline.core.files import replacing, replacing_folder
from pipeline.importing.recognition import Recognised
from pipeline.params.model import Params
from pipeline.tables.paths import RAW
from pipeline.tables.vocabulary import CLASSES, NO_CLASS


def free_place(found: Recognised) -> Path:
    """Return where the files of a data set belong.

    Raises:
        UserError: other files are there.
    """
    place = RAW / found.form
    if os.path.lexists(place) and place.resolve() != found.source.resolve():
        what = f"a link to {place.readlink()}" if place.is_symlink() else "other files"
        raise UserError(
            f"{place}: found {what}, expected: nothing; move them away, or remove the link, and repeat"
        )
    return place


def place(found: Recognised, copy: bool) -> list[str]:
    """Link or copy the files of a data set to where the stages look for them.

    Files that are there already stay; a copy takes the place of a link. A copy has the files that links lead to.

    Returns:
        The paths of what was not copied: broken links, pipes and the like.

    Raises:
        UserError: other files are there, or a file cannot be copied.
    """
    path = free_place(found)
    if os.path.lexists(path) and not (copy and path.is_symlink()):
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        path.symlink_to(os.path.relpath(found.source.resolve(), path.parent.resolve()))
        return []
    folder, left_out = found.source.is_dir(), list[str]()
    with replacing_folder(path) if folder else replacing(path) as temporary:
        try:
            if folder:
                ignored = partial(_not_copied, found.source, left_out)
                shutil.copytree(found.source, temporary, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copyfile(found.source, temporary)
        except shutil.Error as error:  # of each file, its path, that of its copy, and why
            [(source, _, why), *more] = error.args[0]
            others = f" (and {len(more):,} more)" if more else ""
            raise UserError(f"{source}: cannot be copied: {one_line(why)}{others}") from None
    return left_out


def _not_copied(source: Path, left_out: list[str], folder: str, names: list[str]) -> list[str]:
    """Return the names in a folder that are not copied: links that lead round in a circle, and what is no file.

    Args:
        source: the folder that is being copied.
        left_out: takes the paths of what is no file.
        folder: a folder in it, as a path through links.
        names: its entries.
    """
    inner = Path(folder).relative_to(source)
    above = [os.path.realpath(source / part) for part in (inner, *inner.parents)]
    ignored = []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            real = os.path.realpath(path)
            circle = os.path.islink(path) and any(f"{outer}/".startswith(f"{real}/") for outer in above)
            ignored += [name] * circle
        elif not os.path.isfile(path):
            ignored.append(name)
            left_out.append(printable(path))
    return ignored


def classes_of(found: Recognised) -> list[str]:
    """Return the classes of a data set, the known ones first, in their order."""
    names = {name for _, name, _ in found.labels()} | found.listing.votes().keys()
    names -= {"", *NO_CLASS}
    return [name for name in CLASSES if name in names] + sorted(names - set(CLASSES))


def settings(found: Recognised, p: Params, names: Mapping[str, str], accept: bool) -> dict[str, Any]:
    """Return the values of `params.yaml` that a training on a data set alone needs and that differ.

    Args:
        found: the data set.
        p: `params.yaml`.
        names: a person's label to the name of its class.
        accept: whether any number of records may be rejected.
    """
    wanted = {
        "datasets": [found.form],
        "classes": classes_of(found),
        "ingest.names": dict(names),
        "ingest.rejected": "accept" if accept else "stop",
        "ingest.rafdb": found.rafdb if found.form == "rafdb" else p.ingest.rafdb,
        # RAF-DB's aligned images are faces that are cut out already.
        "align.modes": {"rafdb": "none"}
        if found.form == "rafdb" and found.rafdb == "aligned"
        else p.align.modes,
        "gan": "none",
        "labels.merge": {},
        "train.datasets": None,
        "gans.datasets": None,
    }
    return {key: value for key, value in wanted.items() if attrgetter(key)(p) != value}
