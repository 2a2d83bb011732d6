"""Name the files of a data set that no record and no rejected row is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from typing import NamedTuple

from pipeline.core.errors import printable
from pipeline.intake.listing import Listing
from pipeline.intake.tree import Part, Tree

_MOST = 20  # files of a folder that are named one by one


class Unread(NamedTuple):
    """A file that was not read, or a folder with such files.

    Attributes:
        place: of the file, or of the folder with a final `/`.
        files: their number.
        example: name of the first one.
    """

    place: str
    files: int
    example: str


def file_of(place: str, files: Container[str]) -> str:
    """Return the file in which the image at a place is: a part of a file has the place `<file>|<part>`.

    Args:
        place: of the image.
        files: the places of all files, whose names may have `|` in them.
    """
    return place if place in files or "|" not in place else place.rpartition("|")[0]


def unread(tree: Tree, part: Part, listing: Listing) -> list[Unread]:
    """Return the files that were not read. A folder of which nothing was read is named as a whole.

    Args:
        tree: the data set's files.
        part: the part of it that the data set's module has read.
        listing: of the module. Its records have been iterated.
    """
    above = f"{part.folder}/" if part.folder else ""
    files = sorted(tree.files())
    known, about = set(files), {above + place for place in part.opened | listing.used()}
    used = {file_of(place, known) for place in about}
    folders = {""}  # with a file that was read
    for place in used:
        while (place := place.rpartition("/")[0]) not in folders:
            folders.add(place)
    of_folder: defaultdict[str, list[str]] = defaultdict(list)
    for place in files:
        if place not in used:
            parts = place.split("/")[:-1]
            ends = range(1, len(parts) + 1)
            highest = next((p for end in ends if (p := "/".join(parts[:end])) not in folders), None)
            of_folder["/".join(parts) if highest is None else highest].append(place)
    rows = []
    for folder, places in of_folder.items():
        if folder in folders and len(places) <= _MOST:
            rows += [Unread(printable(place), 1, printable(place)) for place in places]
        else:
            rows.append(Unread(printable(f"{folder}/"), len(places), printable(places[0])))
    return sorted(rows)
