"""Find the images that a table names."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from functools import cached_property
from itertools import dropwhile
from pathlib import PurePosixPath

from pipeline.intake.guards import Rejection, is_document, leads_out
from pipeline.intake.names import split_name
from pipeline.intake.tree import Tree


class Locator:
    """Finds the file that is meant by a path in a table.

    The path may have back-slashes, other capitals or another Unicode form than on disk, an `images/` too many or too
    few. It may also lack the folders between `images/` and the file, or the file's ending, if only one file there has
    the name. Of a path on the machine where the table was made, the longest end that exists here counts: of a relative
    path, an end with at least one folder.

    Args:
        tree: the data set's files.
        folder: the folder that paths are relative to, `images`.
    """

    def __init__(self, tree: Tree, folder: str) -> None:
        self._folder = folder
        self._places: dict[str, str] = {}  # by the path in Unicode's composed form
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._any_case: defaultdict[str, list[str]] = defaultdict(list)
        everywhere = not tree.entries(folder)
        for place in sorted(tree.files()):
            path = unicodedata.normalize("NFC", place)
            self._places[path] = place
            self._any_case[path.casefold()].append(place)
            if everywhere or place.startswith(f"{folder}/"):
                self._by_name[path.rpartition("/")[2]].append(path)

    def place(self, text: str, near: str = "", split: str | None = None) -> str:
        """Return the place of a file; of a file that does not exist, the place where it should be.

        Args:
            text: the path in the table.
            near: a folder whose file counts if there are several of this name.
            split: the split whose file counts if there are several of this name.

        Raises:
            Rejection: `no_image_name`, `outside_folder`, or `ambiguous_image` if several files could be meant.
        """
        text = unicodedata.normalize("NFC", text)
        for folder in (self._folder, near):
            if (exact := f"{folder}/{text}") in self._places:
                return self._places[exact]
        path = PurePosixPath(text.replace("\\", "/"))
        if leads_out(str(path)) or (path.parts and path.parts[0].endswith(":")):
            if place := self._end(path):
                return place
            raise Rejection.of("outside_folder", repr(text[:80]), f"paths inside {self._folder}/")
        if not path.name:
            raise Rejection(
                "no_image_name", f"found {text!r}, expected: the path of an image in {self._folder}/"
            )
        tail = str(path).removeprefix(f"{self._folder}/")
        for candidate in (f"{self._folder}/{path}", str(path), f"{self._folder}/{tail}", tail):
            if candidate in self._places:
                return self._places[candidate]
        for candidate in (f"{self._folder}/{tail}", tail):
            if len(same := self._any_case.get(candidate.casefold(), [])) == 1:
                return same[0]
        return self._below(str(path), split) or self._end(path) or f"{self._folder}/{path}"

    def names(self, text: str) -> bool:
        """Return whether a text is the path of a file that exists, its ending included."""
        try:
            place = self.place(text)
        except Rejection:
            return False
        name = PurePosixPath(unicodedata.normalize("NFC", text).replace("\\", "/")).name
        path = unicodedata.normalize("NFC", place)
        return path in self._places and path.rpartition("/")[2].casefold() == name.casefold()

    def _end(self, path: PurePosixPath) -> str | None:
        """Return the place of the longest end of a path that exists; None if none does, or if `..` is inside it."""
        parts = list(dropwhile("..".__eq__, path.parts))
        absolute = path.is_absolute() or "".join(parts[:1]).endswith(":")
        ends = ["/".join(parts[start:]) for start in range(len(parts) - (not absolute))]
        found = (self._places.get(place) for end in ends for place in (f"{self._folder}/{end}", end))
        return next(filter(None, found), None) if ".." not in parts else None

    @cached_property
    def _without_ending(self) -> dict[str, list[str]]:
        """Paths of images by their names without the ending."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name, paths in self._by_name.items():
            if not is_document(name):
                found[PurePosixPath(name).stem] += paths
        return found

    def _below(self, path: str, split: str | None) -> str | None:
        """Return the place of the only file whose path ends with a path, with or without the ending; else None."""
        name = path.rpartition("/")[2]
        found = [place for place in self._by_name.get(name, ()) if place.endswith(f"/{path}")]
        if not found:
            same = self._without_ending.get(name, ())
            found = [
                place for place in same if f"/{PurePosixPath(place).with_suffix('')}".endswith(f"/{path}")
            ]
        if len(found) > 1 and split:
            found = [place for place in found if split in map(split_name, place.split("/")[:-1])] or found
        if len(found) > 1:
            raise Rejection.of("ambiguous_image", f"{len(found)} files: {', '.join(found[:3])}"[:200], "one")
        return self._places[found[0]] if found else None
