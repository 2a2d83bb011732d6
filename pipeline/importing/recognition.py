"""Recognise the layout of a person's files among all forms of data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.datasets import listed
from pipeline.intake.cell_table import ENDINGS
from pipeline.intake.listing import Listing
from pipeline.intake.local_folder import LocalFolder
from pipeline.intake.names import Names, UnknownNames
from pipeline.intake.options import Options
from pipeline.intake.tree import Part, Tree, WrongTree, open_tree
from pipeline.intake.unread import file_of
from pipeline.params.methods import choices
from pipeline.tables.vocabulary import SPLITS

# The forms that fit many trees come last. Of forms that find as many images and splits, the first one is taken.
_GENERAL = ("yolo", "huggingface", "webdataset", "table", "folder", "fer2013")


@dataclass
class Recognised:
    """A data set that was recognised.

    Attributes:
        form: name of its module in `pipeline/datasets/`.
        source: the folder or the archive that holds it.
        tree: its files.
        part: the part of the tree that was read.
        listing: its records and rejected rows.
        images: number of records. Those that repeat the name of another one are rejected, and do not count.
        names: of its classes, with the labels that it was asked about.
        unknown: labels that nothing knows, and the number of their images.
        rafdb: the images of RAF-DB that were read, `ingest.rafdb`.
        refused: why published forms that the files resemble were not taken, by name.
    """

    form: str
    source: Path
    tree: Tree
    part: Part
    listing: Listing
    names: Names
    unknown: dict[str, int]
    rafdb: str
    images: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def labels(self) -> list[tuple[str, str, int]]:
        """Return each label as found, its class and the number of rows; "" for a label that nothing knows.

        The rows that are left out count too.
        """
        seen = [
            (label, "" if label in self.unknown else name, n) for (label, name), n in self.names.seen.items()
        ]
        if seen:
            return sorted(seen, key=lambda row: (row[1] == "", row[1], row[0]))
        classes = Counter[str]()
        for (_, name), count in self.listing.counts().items():
            if name is not None:
                classes[name] += count
        return sorted((name, name, count) for name, count in classes.items())

    @cached_property
    def missing(self) -> list[str]:
        """The places of images that records name and the tree does not hold."""
        files = set(self.part.files())
        return [place for place in self.listing.places() if file_of(place, files) not in files]

    @cached_property
    def elsewhere(self) -> list[str]:
        """The places of images that are links out of the tree, which are not read."""
        tree, above = self.tree, f"{self.part.folder}/" if self.part.folder else ""
        if not isinstance(tree, LocalFolder):
            return []
        return [place for place in self.listing.places() if tree.leads_out(above + place)]

    def splits(self) -> dict[str, int]:
        """Return the number of records by split; `none` is of those without one."""
        counts = Counter[str]()
        for (split, _), count in self.listing.counts().items():
            counts[split or "none"] += count
        return {split: counts[split] for split in (*SPLITS, "none") if counts[split]}


def forms() -> list[str]:
    """Return the forms of data sets, those that fit few trees first."""
    return [*(name for name in choices("dataset") if name not in ("sample", *_GENERAL)), *_GENERAL]


def recognise(
    path: Path, own: Mapping[str, str], declared: list[str], rafdb: str, form: str | None
) -> Recognised:
    """Return the form that finds most images in a folder, an archive or a table.

    Args:
        path: a folder, an archive, or a table with its images beside it.
        own: a person's label to the name of its class.
        declared: names of classes beyond the known ones.
        rafdb: `ingest.rafdb`.
        form: the only form to try; None: all.

    Raises:
        UserError: no form fits. The message has what each of the general forms expects.
    """
    source = path.parent if path.suffix.lower() in ENDINGS and path.is_file() else path
    if source != path:
        others = [
            file.name
            for file in source.iterdir()
            if file.suffix.lower() == path.suffix.lower() and file != path
        ]
        if others:
            raise UserError(
                f"{path}: found other tables beside it ({', '.join(sorted(others)[:3])}), expected: a folder with this "
                "one and its images, or the folder itself as the argument"
            )
    tree = open_tree(source)
    found: list[Recognised] = []
    refusals: dict[str, str] = {}
    for name in [form] if form else forms():
        for images in (rafdb, *({"original", "aligned"} - {rafdb} if name == "rafdb" else ())):
            try:
                found.append(_recognised(name, source, tree, own, declared, images))
                break
            except UserError as error:
                if not isinstance(error, WrongTree):
                    refusals[name] = str(error)
                elif form:
                    refusals.setdefault(name, str(error))
    if found:
        best = max(found, key=_fit)
        best.images = sum(1 for _ in best.listing)
        if best.form in _GENERAL:
            best.refused = {name: why for name, why in refusals.items() if name not in _GENERAL}
        return best
    if len({*refusals.values()}) == 1:
        raise UserError(next(iter(refusals.values())))
    if refusals:
        raise UserError(*(f"as {name}: {refusal}" for name, refusal in refusals.items()))
    entries = ", ".join(tree.entries()[:8]) or "nothing"
    raise UserError(
        f"{source}: found {entries}; expected: folders named after classes, a table such as labels.csv with a folder "
        "of images, or a published data set (docs/methods/dataset/index.md shows the layouts)"
    )


def _recognised(
    form: str, source: Path, tree: Tree, own: Mapping[str, str], declared: list[str], rafdb: str
) -> Recognised:
    names = Names(own, declared)
    asked: tuple[str, ...] = ()
    try:
        listing, part = listed(form, tree, Options(names, rafdb))
    except UnknownNames as error:  # count the images of each as if it were the name of a class
        asked = error.names
        names = Names({**own, **{name: name for name in asked}}, declared)
        listing, part = listed(form, tree, Options(names, rafdb))
    seen = sorted(names.seen.items())
    unknown = {label: count for (label, name), count in seen if not name or label in asked}
    return Recognised(form, source, tree, part, listing, names, unknown, rafdb)


def _fit(one: Recognised) -> tuple[int, int, int, int]:
    """Return how well a form fits: images whose labels it knows, all images, splits, then few unknown labels.

    Any folders of images could be classes, also those of a published data set, of whose images `folder` finds more.
    """
    asked = sum(count for (label, name), count in one.names.seen.items() if name and label in one.unknown)
    rejected = sum(count for (_, name), count in one.names.seen.items() if not name)
    images = len(one.listing)
    return images - asked, images + rejected, len(one.splits()), -len(one.unknown)
