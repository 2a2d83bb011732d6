"""A data set from the Hugging Face Hub: Parquet files with the images in them, or images with metadata beside.

    data/raw/huggingface/
        data/train-00000-of-00002.parquet ..., data/test-00000-of-00001.parquet     or train/0000.parquet, in any folder

    data/raw/huggingface/
        metadata.csv      or .jsonl or .parquet, also one in each of train/, test/, ...
        a.png ...         the images, beside it or in folders

`hf download <user>/<name> --repo-type dataset --local-dir data/raw/huggingface` fetches either. A link to
`snapshots/<commit>` in Hugging Face's cache works too. Images in folders named after classes, without metadata, are
the data set `folder`; tar files are `webdataset`.

Parquet files hold the image in a column of bytes or of the library's type `Image`. Metadata name it in `file_name`.
Further columns, under these or other usual names (`emotion`, `subject`, `xmin`):

    label         a class by name, or by number if the file names the numbers (`ClassLabel`) or `ingest.names` does
    split         optional: otherwise a file or folder name says it, as in `test-00000-of-00001.parquet` or `val/`
    group         optional: the person in the image
    x1 y1 x2 y2   optional: the face's box in pixels, which says whom the row is about
    gender age race, or attribute.<name>
                  optional: attributes of the person, for `evaluate.groups`

Splits that do not occur are drawn. Rows without a label (empty, or -1) are rejected as `no_label`. If no row of a file
has one, as in a test set whose labels are secret, this counts as no mistake.

An id is `huggingface/<path of the Parquet file without its ending>/<number of the row, from 0, seven digits>`, or
`huggingface/<path of the image>`; of an image with several boxes it ends in `#<x1>,<y1>,<x2>,<y2>`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.cell_table import CellTable, json_cells, known_columns
from pipeline.intake.face_rows import FaceRow, add_faces, attributes_of, box_of, group_of
from pipeline.intake.guards import Rejection, leads_out
from pipeline.intake.image_shards import ShardReader, class_names, image_column
from pipeline.intake.listing import Listing
from pipeline.intake.names import Names, split_in, split_name, split_of
from pipeline.intake.options import Options
from pipeline.intake.parquet import open_parquet, rows, text
from pipeline.intake.tree import Tree, wrong_tree

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet", re.ASCII)
_NUMBER = 7  # digits
_EXPECTED = (
    "Parquet files with images, such as data/train-00000-of-00001.parquet, or metadata.csv or metadata.jsonl with "
    "the images beside; folders named after classes are the data set folder"
)
_COLUMNS = "file_name and label"


def records(tree: Tree, options: Options) -> Listing:
    """List the rows of all Parquet files with images or, if there are none, of all metadata.

    Raises:
        UserError: there are neither, a file cannot be read or has no labels, or nothing knows any of the labels.
    """
    top = tree.entries()
    if {"blobs/", "snapshots/"} <= set(top):
        raise wrong_tree(tree, "one of the folders in snapshots/")
    places = sorted(tree.files())
    metadata = [place for place in places if place.rpartition("/")[2] in METADATA]
    shards = [place for place in places if place.endswith(".parquet") and place not in metadata]
    if shards:
        listing = _shards(tree, shards, options.names)
    elif metadata:
        listing = _images(tree, metadata, options.names)
    else:
        raise wrong_tree(tree, _EXPECTED)
    options.names.check(tree.address)
    listing.draw_others()
    return listing


# ------------------------------------------------------------------------------------------------- Parquet files


def _shards(tree: Tree, shards: list[str], names: Names) -> Listing:
    _check_files(tree, shards)
    columns: dict[str, str] = {}
    listing = Listing(ShardReader(tree, columns), face_boxes="pixels")
    unlabelled = []
    for shard in shards:
        file = open_parquet(tree, shard)
        images = image_column(file.schema_arrow)
        if images is None:
            found = ", ".join(file.schema_arrow.names)[:200]
            why = Rejection("no_images", f"found the columns {found}, expected: one with encoded images")
            listing.reject(shard, 0, shard, why)
            continue
        columns[shard] = images
        if not _add_shard(listing, file, tree, shard, names):
            unlabelled.append(shard)
    if not columns:
        raise wrong_tree(tree, _EXPECTED)
    if len(unlabelled) == len(columns):
        found = ", ".join(open_parquet(tree, unlabelled[0]).schema_arrow.names)[:200]
        raise UserError(
            f"{tree.address}/{unlabelled[0]}: found the columns {found}, expected: one named label"
        )
    return listing


def _check_files(tree: Tree, shards: list[str]) -> None:
    """Check that the Parquet files are one configuration, and that all parts of a split are there.

    Raises:
        UserError: they are several, whose images are often the same, or parts are missing.
    """
    configurations = set()
    for shard in shards:
        *folders, _ = shard.split("/")
        configurations.add("/".join(f for f in folders if f != "data" and not split_name(f)))
    if len(configurations) > 1:
        found = ", ".join(f"{name or '.'}/" for name in sorted(configurations))
        raise UserError.of(
            tree.address, f"Parquet files in {found[:200]}", "one configuration; import its folder"
        )
    parts: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for shard in shards:
        if match := _PART.fullmatch(shard):
            parts[match[1], int(match[3])].add(int(match[2]))
    for (name, total), numbers in parts.items():
        if len(numbers) < total:
            found = f"{len(numbers)} of {total} parts"
            raise UserError(f"{tree.address}/{name}: found {found}, expected: all; download the others")


def _add_shard(listing: Listing, file: pq.ParquetFile, tree: Tree, shard: str, names: Names) -> bool:
    """Add the rows of a Parquet file; return whether it has a column of labels."""
    schema = file.schema_arrow
    classes = class_names(schema)
    columns = {name: schema.names[number] for name, number in known_columns(schema.names).items()}
    columns.pop("image", None)
    if "label" not in columns and len(classes) == 1:
        columns["label"] = next(iter(classes))
    labels = classes.get(columns.get("label", ""))
    stem, unlabelled = shard.removesuffix(".parquet"), 0
    split = split_in(stem)
    for number, values in enumerate(rows(file, f"{tree.address}/{shard}", [*columns.values()])):
        name, cell = f"{stem}/{number:0{_NUMBER}d}", dict(zip(columns, values, strict=True))
        texts = {name: _named(value, classes.get(columns[name])) for name, value in cell.items()}
        try:
            listing.add(
                name,
                split_of(texts.get("split", "")) or split,
                f"{shard}|{number}",
                shard,
                number + 1,
                label=names.label(_label(cell.get("label"), labels)),
                group=group_of(texts),
                box=box_of(texts),
                attributes=attributes_of(texts),
            )
        except Rejection as why:
            listing.reject(shard, number + 1, name, why)
            unlabelled += why.reason == "no_label"
    if unlabelled == file.metadata.num_rows:
        listing.expected["no_label"] += unlabelled
    return "label" in columns


def _label(value: object, classes: list[str] | None) -> str:
    """Return a label as text.

    Args:
        value: of the row, as Parquet holds it.
        classes: the names of numbers.

    Raises:
        Rejection: `no_label`, or `unknown_label` if the value is no label or has no name.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value in (None, "", -1, "-1") or value != value:
        raise Rejection("no_label", "the row has no label")
    if isinstance(value, int) and classes:
        if value in range(len(classes)):
            return classes[value]
        raise Rejection.of("unknown_label", value, f"0 to {len(classes) - 1}")
    if not isinstance(value, (str, int)):
        raise Rejection.of("unknown_label", repr(value)[:40], "a name or a whole number")
    return str(value)


def _named(value: object, names: list[str] | None) -> str:
    """Return a cell as text; a number that has a name as its name."""
    if names and isinstance(value, int) and value in range(len(names)):
        return names[value]
    return text(value)


# ------------------------------------------------------------------------------------------------------ metadata


def _images(tree: Tree, metadata: list[str], names: Names) -> Listing:
    listing = Listing(tree.read, face_boxes="pixels")
    places = {unicodedata.normalize("NFC", place): place for place in tree.files()}
    faces: list[FaceRow] = []
    unlabelled = []
    for file in metadata:
        folder, outcomes = file.rpartition("/")[0], Counter[str]()
        for row, line, cell in _cells(tree, file):
            name, place = line.strip()[:80], ""
            try:
                if isinstance(cell, Rejection):
                    raise cell
                name = cell.get("image", "")
                place = _place(places, folder, name)
                split = split_of(cell.get("split", "")) or split_in(place.rpartition("/")[0])
                label = names.label(_label(cell.get("label"), None))
                group = group_of(cell)
                box, attributes = box_of(cell), attributes_of(cell)
                faces.append(FaceRow(file, row, place, split, group, box, label, attributes=attributes))
                outcomes["record"] += 1
            except Rejection as why:
                listing.reject(file, row, name, why, place)
                outcomes[why.reason] += 1
        if outcomes.keys() <= {"no_label"}:
            listing.expected += outcomes
            unlabelled.append(file)
    if unlabelled == metadata:
        raise UserError(f"{tree.address}/{metadata[0]}: found no label in any row, expected: {_COLUMNS}")
    add_faces(listing, faces)
    return listing


def _place(places: Mapping[str, str], folder: str, text: str) -> str:
    """Return the place of the file that metadata in a folder name; of a missing one, where it should be."""
    path = unicodedata.normalize("NFC", text).replace("\\", "/").removeprefix("./")
    if not path:
        raise Rejection("no_image_name", f"found {text[:80]!r}, expected: an image's path in file_name")
    if leads_out(path):
        raise Rejection.of("outside_folder", repr(text[:80]), "paths inside the folder of the metadata")
    place = f"{folder}/{path}" if folder else path
    return places.get(place, place)


def _cells(tree: Tree, file: str) -> Iterator[tuple[int, str, dict[str, str] | Rejection]]:
    """Yield the number of each row, its text, and the cells of its known columns or why it has none."""
    if file.endswith(".jsonl"):
        for row, line in csv_rows.lines(tree, file):
            try:
                yield row, line, json_cells(line)
            except Rejection as why:
                yield row, line, why
        return
    table = CellTable(tree, file, _COLUMNS)
    table.required("image")
    columns = table.columns()
    for row, line, cells in table.rows():
        if isinstance(cells, Rejection):
            yield row, line, cells
        else:
            yield row, line, {name: cells[number] for name, number in columns.items()}
