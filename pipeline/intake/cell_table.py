"""Tables that strangers made, as CSV, TSV or Parquet, whose columns have one of several names."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Iterator

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows, parquet
from pipeline.intake.guards import Rejection
from pipeline.intake.tree import Tree
from pipeline.tables.vocabulary import spelled

ENDINGS = (".csv", ".tsv", ".parquet")
# Names of a column, the one that counts first. `spelled` makes them alike: `File Name` is `file_name`.
COLUMNS = {
    "image": "image img filename file_name file filepath file_path path image_path img_path image_name img_name "
    "image_file imagename images pth",
    "label": "label emotion expression class target labels emotions expressions class_name category "
    "facial_expression emotion_label expression_label",
    "split": "split usage subset partition set",
    "group": "group person subject person_id subject_id identity participant participant_id",
    "x1": "x1 xmin x_min left",
    "y1": "y1 ymin y_min top",
    "x2": "x2 xmax x_max right",
    "y2": "y2 ymax y_max bottom",
}
# Columns about the person in the image. Others have a name that begins with the prefix.
ATTRIBUTES, PREFIX = ("gender", "age", "race"), "attribute."
_USUAL = frozenset(name for usual in COLUMNS.values() for name in usual.split())
# Numbers of rows, as pandas writes them: nothing that anybody would miss.
_INDEX = frozenset({"", "index", "idx", "id", "no", "number", "unnamed:_0", "level_0"})


def known_columns(header: Iterable[str]) -> dict[str, int]:
    """Return the number of each known column, by its name in `COLUMNS` or, of an attribute, by `attribute.<name>`.

    Args:
        header: names of all columns.
    """
    spelling = [spelled(name) for name in header]
    attributes = {
        name if name.startswith(PREFIX) else PREFIX + name: number
        for number, name in enumerate(spelling)
        if name in ATTRIBUTES or name.removeprefix(PREFIX) not in ("", name)
    }
    return attributes | {
        column: spelling.index(name)
        for column, usual in COLUMNS.items()
        if (name := next((name for name in usual.split() if name in spelling), None))
    }


def json_cells(text: str | bytes) -> dict[str, str]:
    """Return the text of each known column of a row that is a JSON object, by the column's name in `COLUMNS`.

    Raises:
        Rejection: `bad_row` if it is something else.
    """
    try:
        values = json.loads(text)
        texts = [parquet.text(value) for value in values.values()]
        return {name: texts[number] for name, number in known_columns(values).items()}
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise Rejection("bad_row", f"found {text[:40]!r}, expected: a JSON object") from None


class CellTable:
    """A table in a data set's folder, whose cells are text.

    Args:
        tree: the data set's files.
        place: the table in it; its ending tells the form.
        expected: for messages, the columns that it must have.

    Attributes:
        path: its path, for messages.
        place: its place in the tree.
        header: names of its columns.

    Raises:
        UserError: it cannot be read, or has no header.
    """

    def __init__(self, tree: Tree, place: str, expected: str) -> None:
        self.path, self.place, self._tree = f"{tree.address}/{place}", place, tree
        self._expected = expected
        self._parquet = place.lower().endswith(".parquet")
        if self._parquet:
            self.header: list[str] = parquet.open_parquet(tree, place).schema_arrow.names
        else:
            lines = csv_rows.lines(tree, place)
            self.header, self._mark = csv_rows.header(tree, place, lines, (), expected)

    def columns(self) -> dict[str, int]:
        """Return the number of each known column, as `known_columns`.

        Raises:
            UserError: two columns are about one attribute.
        """
        columns = known_columns(self.header)
        for name in ATTRIBUTES:
            twice = [header for header in self.header if spelled(header) in (name, PREFIX + name)]
            if len(twice) > 1:
                raise UserError(
                    f"{self.path}: found the columns {' and '.join(twice)}, both for {name}, expected: one"
                )
        return columns

    def required(self, column: str) -> int:
        """Return the number of a column.

        Raises:
            UserError: the table has no such column.
        """
        columns = self.columns()
        if column not in columns:
            raise UserError(f"{self.path}: found no column {column}, expected: {self._expected}")
        return columns[column]

    def ignored(self, used: Collection[int], known: Iterable[str]) -> list[str]:
        """Return the names of the columns that are not used, without numbers of rows.

        Args:
            used: numbers of the columns that are used.
            known: names that a column may have.

        Raises:
            UserError: the name of such a column is close to a known one. To ignore a misspelt column of votes would
                change labels.
        """
        ignored, known = [], list(known)
        for name in (name for number, name in enumerate(self.header) if number not in used):
            spelling = spelled(name)
            close = difflib.get_close_matches(spelling, known, 1, cutoff=0.8)
            if close and spelling not in _USUAL:
                raise UserError(f"{self.path}: found the column {name}, did you mean {close[0]}?")
            if spelling not in _INDEX:
                ignored.append(name)
        return ignored

    def rows(self) -> Iterator[tuple[int, str, list[str] | Rejection]]:
        """Yield the number of each row, its text, and its cells or why it has none.

        Row numbers are a spreadsheet's: the first row after the header is 2.

        Raises:
            UserError: the file is damaged.
        """
        if self._parquet:
            file = parquet.open_parquet(self._tree, self.place)
            for row, values in enumerate(parquet.rows(file, self.path), 2):
                cells = [parquet.text(value) for value in values]
                yield row, ", ".join(cells), cells
            return
        lines = csv_rows.lines(self._tree, self.place)
        csv_rows.header(self._tree, self.place, lines, (), self._expected)  # takes the lines above the rows
        for row, line in lines:
            try:
                yield row, line, csv_rows.cells(line, len(self.header), self._mark)
            except Rejection as why:
                yield row, line, why
