"""Your own images: a folder and a table. The embedded sample has the same form.

    data/raw/table/
        labels.csv     or any other one .csv, .tsv or .parquet file, or one for each split: train.csv, test.csv
                       A .csv or .tsv file may also lie in a folder of its own, or in that of its split
        images/        PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM, also in folders inside it

A CSV file is UTF-8, or UTF-16 or Windows-1252 as Excel writes them, separated by commas, semicolons, tabs or `|`, with
a header. Its columns, in any order, in upper or lower case, under these or other usual names (`filename`, `emotion`,
`usage`, `person`, `xmin`):

    image         path of the image inside images/; its ending may be missing. Of a path on another machine, the part
                  that exists here counts
    split         optional: train, valid (or val) or test; the stage `label` draws the splits that do not occur. An
                  image with an empty cell takes part in the draw; if nothing is drawn, it is train
    group         optional: the person in the image
    label         one of neutral happiness surprise sadness anger disgust fear contempt unknown NF, another spelling
                  (Happy), a class in `classes` of params.yaml, or a label that `ingest.names` maps to a class
    x1 y1 x2 y2   optional: the face's box in pixels, which says whom the row is about. An image with several faces has
                  a row for each.
    gender age race, or attribute.<name>
                  optional: attributes of the person, in words, for `evaluate.groups`; an empty cell: not known

Or, instead of `label`, one column per name with its number of votes: at least two classes. A missing column counts
as 0 votes. `unknown` is "cannot tell", `NF` is "no face". Shares of votes (0.8) count as that many votes out of 1,000.

Rows for one face that disagree are all rejected.

An id is `table/<image>`, extension included, so that `a.png` and `a.jpg` are two images; of an image with several
boxes it is `table/<image>#<x1>,<y1>,<x2>,<y2>`.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from pipeline.core.errors import UserError
from pipeline.intake.cell_table import COLUMNS, ENDINGS, CellTable
from pipeline.intake.class_folders import folders, images
from pipeline.intake.face_rows import FaceRow, add_faces, attributes_of, box_of, group_of
from pipeline.intake.guards import Rejection, is_document
from pipeline.intake.landmarks import numbers
from pipeline.intake.listing import Listing, votes_of
from pipeline.intake.locator import Locator
from pipeline.intake.names import CLASS_OF, Names, split_name, split_of
from pipeline.intake.options import Options
from pipeline.intake.tree import Tree, wrong_tree
from pipeline.tables.vocabulary import CLASSES, NO_CLASS, VOTES, spelled

FILE = "labels.csv"
IMAGES = "images"
_EXPECTED = f"image, and either label or vote columns ({', '.join(VOTES)}, and the names in classes)"

_SAMPLE = 1_000  # rows that show what a column holds
_OF_OTHERS = ("metadata.csv", "legend.csv")  # tables of huggingface and facial_expressions


def records(tree: Tree, options: Options) -> Listing:
    """List the rows of the table.

    Raises:
        UserError: there is no table or no image, the header lacks columns, or nothing knows any of the labels.
    """
    top = tree.entries()
    files = [FILE] if FILE in top else [name for name in top if name.lower().endswith(ENDINGS)]
    if not files:
        files = _below(tree)
    if not files or all(map(is_document, top)):
        raise wrong_tree(tree, f"{FILE} and the folder {IMAGES}/")
    others: list[str] = []
    if _of_several_sets(files):
        others = [file for file in files if not _has_images(tree, file)]
        files = [file for file in files if file not in others]
        if not files:
            raise wrong_tree(tree, f"a table with a column of images, {FILE}")
        if _of_several_sets(files):
            expected = f"one table, {FILE}, or a table for each split, such as train.csv and test.csv"
            raise UserError(f"{tree.address}: found the tables {', '.join(files[:8])}; expected: {expected}")
    tables = [CellTable(tree, file, _EXPECTED) for file in files]
    votes = [_vote_columns(table, options.names) for table in tables]
    vocabulary = (*VOTES, *sorted({name for columns in votes for name in columns}.difference(VOTES)))
    listing = Listing(tree.read, vocabulary=vocabulary, face_boxes="pixels")
    locator, ignored = Locator(tree, IMAGES), list[str]()
    rows: list[FaceRow] = []
    for table, of_table in zip(tables, votes, strict=True):
        columns = table.columns()
        columns |= _chosen_column(table, columns, "image", locator.names)
        columns |= _chosen_column(table, columns, "label", lambda cell: bool(options.names.get(cell)))
        # Beside a column of labels, a column with nearly the name of a class (`angle`) is no misspelt vote.
        classes = () if "label" in columns and not of_table else CLASS_OF
        missing = (name for name in COLUMNS if name not in columns)
        ignored += table.ignored({*columns.values(), *of_table.values()}, [*missing, *classes])
        _check(table, columns, list(of_table))
        rows += _rows(table, columns, of_table, listing, locator, options.names, len(tables) > 1)
    options.names.check(tree.address)
    add_faces(listing, rows, lambda place: place.removeprefix(f"{IMAGES}/"))
    listing.draw_others()
    if others:
        listing.notes["other_tables"] = ", ".join(others)
    if ignored:
        listing.notes["ignored_columns"] = ", ".join(ignored)
    used = listing.used()
    listing.notes["images_without_row"] = sum(place not in used for place in tree.files(IMAGES))
    return listing


def _below(tree: Tree) -> list[str]:
    """Return the CSV files about images in folders that hold no images themselves, or are named after splits."""
    found = []
    for folder in folders(tree):
        if split_name(folder) or not any(images(tree, folder)):
            for name in tree.entries(folder):
                is_table = name.lower().endswith((".csv", ".tsv")) and name not in _OF_OTHERS
                if is_table and _has_images(tree, place := f"{folder}/{name}"):
                    found.append(place)
    return found


def _has_images(tree: Tree, file: str) -> bool:
    """Return whether a file is a table with a column of images."""
    with suppress(UserError):
        return "image" in CellTable(tree, file, _EXPECTED).columns()
    return False


def _of_several_sets(files: list[str]) -> bool:
    """Return whether there are several tables that are not each a split's."""
    return len(files) > 1 and not all(map(_split, files))


def _split(file: str) -> str | None:
    """Return the split that the name of a table says, or that of its folder."""
    folder, _, name = file.rpartition("/")
    return split_name(name.rpartition(".")[0]) or split_name(folder)


def _rows(
    table: CellTable,
    columns: Mapping[str, int],
    votes: Mapping[str, int],
    listing: Listing,
    locator: Locator,
    names: Names,
    of_split: bool,
) -> Iterator[FaceRow]:
    """Yield the usable rows of a table, and reject the others.

    Args:
        table: the table.
        columns: number of each known column.
        votes: number of each column of votes, by class.
        listing: takes the rejected rows.
        locator: finds the images.
        names: the classes of labels.
        of_split: whether the table is a split's, which its name says.
    """
    file, folder = table.place, table.place.rpartition("/")[0]
    near, split = folder or file.rpartition(".")[0], _split(file) if of_split else None
    shares = bool(votes) and _has_shares(table, votes)
    for row, line, cells in table.rows():
        name, place = line.strip()[:80], ""
        try:
            if isinstance(cells, Rejection):
                raise cells
            cell = {column: cells[number] for column, number in columns.items()}
            name = cell["image"]
            path = posixpath.normpath(f"{folder}/{name}") if folder and name.startswith("../") else name
            place = locator.place(path, near, split_name(cell.get("split", "")) or split)
            yield FaceRow(
                file,
                row,
                place,
                split_of(cell.get("split", "")) or split,
                group_of(cell),
                box_of(cell),
                None if votes else names.label(cell["label"]),
                votes_of(
                    tuple(votes), _counts([cells[n] for n in votes.values()], shares), listing.vocabulary
                )
                if votes
                else None,
                attributes_of(cell),
            )
        except Rejection as why:
            listing.reject(file, row, name, why, place)


def _vote_columns(table: CellTable, names: Names) -> dict[str, int]:
    """Return the number of each column of votes, by class.

    Raises:
        UserError: two columns are one class's.
    """
    votes: dict[str, int] = {}
    for number, header in enumerate(table.header):
        if name := names.get(header):
            if name in votes:
                found = f"the columns {table.header[votes[name]]} and {header}, both votes for {name}"
                raise UserError(f"{table.path}: found {found}, expected: one of them")
            votes[name] = number
    return votes


def _chosen_column(
    table: CellTable, columns: Mapping[str, int], column: str, holds: Callable[[str], bool]
) -> dict[str, int]:
    """Return the number of a column, if several have a name for it: of the one with most cells that hold what it says.

    Args:
        table: the table.
        columns: number of each known column.
        column: its name in `COLUMNS`.
        holds: whether a cell holds what the column is about.
    """
    usual = COLUMNS[column].split()
    several = [number for number, header in enumerate(table.header) if spelled(header) in usual]
    if len(several) < 2:
        return {}
    known = Counter(
        number
        for _, _, cells in islice(table.rows(), _SAMPLE)
        if not isinstance(cells, Rejection)
        for number in several
        if holds(cells[number])
    )
    return {column: max(columns[column], *several, key=lambda number: known[number])}


def _check(table: CellTable, columns: Mapping[str, int], votes: list[str]) -> None:
    """Check that a table has the columns that it must have.

    Raises:
        UserError: it lacks some, or has both forms of labels.
    """
    found = ", ".join(table.header)[:200]
    classes = sum(name not in NO_CLASS for name in votes)
    if "image" not in columns or not (votes or "label" in columns):
        raise UserError(f"{table.path}: found the columns {found}, expected: {_EXPECTED}")
    corners = [table.header[columns[name]] for name in ("x1", "y1", "x2", "y2") if name in columns]
    if 0 < len(corners) < 4:
        part = f"the columns {', '.join(corners)} of a box"
        raise UserError(
            f"{table.path}: found {part}, expected: x1, y1, x2, y2, the corners in pixels, or none of them"
        )
    if votes and "label" in columns:
        raise UserError(
            f"{table.path}: found both label and vote columns ({found}), expected: one or the other"
        )
    if votes and classes < 2:
        raise UserError(
            f"{table.path}: found votes for {classes} class ({found}), expected: at least 2 of {', '.join(CLASSES)} "
            "and the names in classes of params.yaml"
        )


def _has_shares(table: CellTable, votes: Mapping[str, int]) -> bool:
    """Return whether votes are shares: there are fractions, and nothing above 1."""
    found = {
        number
        for _, _, cells in table.rows()
        if not isinstance(cells, Rejection)
        for number in numbers([cells[column] for column in votes.values()])
        if number == number  # an empty cell is NaN
    }
    return any(number % 1 for number in found) and max(found) <= 1


def _counts(cells: Iterable[str], shares: bool) -> tuple[str, ...]:
    """Return votes as whole numbers: `8.0` as `8`; shares as votes out of 1,000."""
    return tuple(
        cell if number != number else f"{1_000 * number:.0f}" if shares else f"{number:g}"
        for cell, number in zip(cells, numbers(list(cells)), strict=True)
    )
