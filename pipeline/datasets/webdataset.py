"""Tar files in the form of WebDataset: the files of a sample share a name up to the first dot.

    data/raw/webdataset/
        train-000000.tar ...    a/0001.jpg, a/0001.cls, a/0002.jpg, a/0002.cls ...
        test-000000.tar ...

A sample has one image (.jpg, .png, .webp, ..., also .face.jpg) and a label:

    .cls or .label    a class by name, or by a number that `ingest.names` maps to a class
    .json             an object with a label and, optionally, the person, attributes such as gender, and the face's box
                      in pixels, under usual names:
                      {"emotion": "happy", "subject": "ann", "xmin": 4, "ymin": 8, "xmax": 60, "ymax": 70}

The split is in the name of the tar file or of a folder. Splits that do not occur are drawn. The files of one tar file
may also lie in the folder itself. Compressed tar files must be unpacked.

An id is `webdataset/<path of the tar file without its ending>/<name of the sample>`, or `webdataset/<name of the
sample>` without tar files. The metrics count, by ending, what else is in the samples.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from pipeline.intake.archive import tar_members
from pipeline.intake.cell_table import json_cells
from pipeline.intake.face_rows import attributes_of, box_of, group_of
from pipeline.intake.guards import Rejection, is_hidden
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, split_in
from pipeline.intake.options import Options
from pipeline.intake.tar_reader import TarReader
from pipeline.intake.tree import Tree, wrong_tree

IMAGES = frozenset(["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"])
LABELS = ("cls", "label")
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)
_LONGEST = 100_000  # bytes of a label
_EXPECTED = (
    "tar files such as train-000000.tar, with the image (.jpg) and the label (.cls or .json) of each sample"
)


class _Sample(NamedTuple):
    """Files that share a name.

    Attributes:
        name: of the record.
        file, row: where it comes from, as for `Listing.add`.
        split: that its path names.
        places: of its files, by what follows the first dot.
    """

    name: str
    file: str
    row: int
    split: str | None
    places: dict[str, str]


def records(tree: Tree, options: Options) -> Listing:
    """List the samples in all tar files or, if there are none, in the folder.

    Raises:
        UserError: there are no samples, a tar file is damaged, or nothing knows any of the labels.
    """
    shards = sorted(place for place in tree.files() if place.lower().endswith(".tar"))
    listing = Listing(TarReader(tree) if shards else tree.read, face_boxes="pixels")
    if shards:
        others: Counter[str] = Counter()
        for shard in shards:
            samples = list(_in_shard(tree, shard))
            _add(listing, samples, options.names)
            others.update(ending for sample in samples for ending in sample.places if not _is_used(ending))
        if not len(listing) and listing.reasons().keys() <= {"no_label"}:
            raise wrong_tree(tree, f"{_EXPECTED}; unpack tar files of other forms")
        if others:
            listing.notes["not_used"] = dict(sorted(others.items()))
    else:
        samples = list(_in_folder(tree))
        if not samples:
            raise wrong_tree(tree, _EXPECTED)
        _add(listing, samples, options.names)
    options.names.check(tree.address)
    listing.draw_others()
    return listing


def _in_shard(tree: Tree, shard: str) -> Iterator[_Sample]:
    stem, path = shard[: -len(".tar")], f"{tree.address}/{shard}"
    samples: defaultdict[str, dict[str, str]] = defaultdict(dict)
    with tree.open(shard) as file:  # of several members with one name the last one counts
        members = {name.removeprefix("./"): member or (0, -1) for name, member in tar_members(file, path)}
    for name, (start, size) in members.items():
        if not is_hidden(name):
            match = _NAME.fullmatch(name)
            sample, ending = match.groups() if match else (name, "")
            _put(samples[sample], ending, f"{shard}|{start}+{size}")
    for row, (name, places) in enumerate(samples.items(), 1):
        yield _Sample(
            f"{stem}/{name}", shard, row, split_in(stem) or split_in(name.rpartition("/")[0]), places
        )


def _in_folder(tree: Tree) -> Iterator[_Sample]:
    samples: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for place in sorted(tree.files()):
        if match := _NAME.fullmatch(place):
            _put(samples[match[1]], match[2], place)
    # Images alone, or with one file of labels for all, are another form of data set.
    if not any(_is_labelled(places) and any(map(_is_image, places)) for places in samples.values()):
        return
    of_archive = split_in(PurePosixPath(tree.address).name)
    for name, places in samples.items():
        used = [place for ending, place in places.items() if _is_image(ending) or ending in LABELS]
        if used:
            yield _Sample(name, used[0], 0, split_in(name.rpartition("/")[0]) or of_archive, places)


def _put(places: dict[str, str], ending: str, place: str) -> None:
    """Add a file to a sample under its ending in lower case, unless `.PNG` is there beside `.png`."""
    small = ending.lower()
    places[ending if small in places else small] = place


def _add(listing: Listing, samples: Sequence[_Sample], names: Names) -> None:
    unlabelled = 0
    for sample in samples:
        try:
            place = _image(sample)
            cell = _cells(sample.places, listing.read)
            if not cell.get("label"):
                found = _endings(sample.places)
                raise Rejection("no_label", f"found {found}, expected: a label in .cls or .json")
            listing.add(
                sample.name,
                sample.split,
                place,
                sample.file,
                sample.row,
                label=names.label(cell["label"]),
                group=group_of(cell),
                box=box_of(cell),
                attributes=attributes_of(cell),
            )
        except Rejection as why:
            listing.reject(sample.file, sample.row, sample.name, why)
            unlabelled += why.reason == "no_label"
    if unlabelled == len(samples):  # a test set whose labels are secret
        listing.expected["no_label"] += unlabelled


def _image(sample: _Sample) -> str:
    """Return the place of the image."""
    images = {ending: place for ending, place in sample.places.items() if _is_image(ending)}
    if not images:
        raise Rejection("missing_image", f"found {_endings(sample.places)}, expected: an image")
    if len(images) > 1:
        raise Rejection.of("ambiguous_image", _endings(images), "one image")
    return next(iter(images.values()))


def _cells(places: Mapping[str, str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Return the label of a sample and what else is known of its face, by the names of `cell_table.COLUMNS`."""
    cell: dict[str, str] = {}
    for ending in ("json", *reversed(LABELS)):
        if ending in places:
            data = read(places[ending])
            if len(data) > _LONGEST:
                raise Rejection.of("bad_annotation", f"{len(data):,} bytes in .{ending}", f"{_LONGEST:,}")
            text = data.decode("utf-8", "replace").strip()
            cell |= json_cells(text) if ending == "json" else {"label": text}
    return cell


def _endings(endings: Iterable[str]) -> str:
    return ", ".join(f".{ending}" for ending in sorted(endings))[:80]


def _is_labelled(endings: Iterable[str]) -> bool:
    return not {*LABELS, "json"}.isdisjoint(endings)


def _is_image(ending: str) -> bool:
    return ending.rpartition(".")[2].lower() in IMAGES


def _is_used(ending: str) -> bool:
    return _is_image(ending) or _is_labelled([ending])
