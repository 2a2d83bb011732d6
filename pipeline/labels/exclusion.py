"""The list of images that a person leaves out: the CSV file that `labels.exclude` names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import file_error
from pipeline.tables.columns import Texts, texts
from pipeline.tables.csv_cells import as_text

COLUMN = "id"
_DELIMITERS = ",;\t"  # a spreadsheet's, by country
# Of texts that a cell of ours may change; the others need not be looked at one by one.
_CHANGED = r"^[=+\-@\t\n]|[;\t\n][=+\-@\t\n]|\r"


def read_ids(path: Path) -> list[str]:
    """Return the ids in the column `id` of a CSV file in UTF-8, each once, in the file's order.

    Other columns do not count, and rows without any text are no rows.

    Raises:
        UserError: the file cannot be read, has no such column, or has a row without an id.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        allowed = f"null or a CSV file with the column {COLUMN}"
        raise UserError.of("params.yaml: labels.exclude", f"{path}, which is not there", allowed) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not in UTF-8, expected: a CSV file with the column {COLUMN}") from None
    except OSError as error:
        raise file_error(error) from None
    try:
        return _ids(path, text)
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file: {one_line(error)}") from None


def listed(ids: Texts, names: Texts) -> np.ndarray:
    """Return which of the names are among the ids, bool [N], whether or not a cell of ours has changed either.

    Args:
        ids: from a list.
        names: the ids of N images.
    """
    found = pc.is_in(_as_cells(names), value_set=_as_cells(ids))
    return found.to_numpy(zero_copy_only=False)


def _as_cells(names: Texts) -> pa.Array:
    """Return texts as they are written into cells."""
    column = texts(names)
    changed = pc.match_substring_regex(column, _CHANGED)
    cells = [as_text(name) for name in column.filter(changed).to_pylist()]
    return pc.replace_with_mask(column, changed, pa.array(cells, pa.string()))


def _ids(path: Path, text: str) -> list[str]:
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter)
        head = [cell.strip() for cell in next(rows, [])]
        if COLUMN in head:
            break
    else:
        found = one_line(text.partition("\n")[0]) or "an empty line"
        raise UserError.of(f"{path}, row 1", found, f"a header with the column {COLUMN}")
    column = head.index(COLUMN)
    ids: dict[str, None] = {}
    for row in rows:
        if any(map(str.strip, row)):
            if not (id_ := "".join(row[column : column + 1]).strip()):
                raise UserError(f"{path}, row {rows.line_num}: found no {COLUMN}, expected: that of an image")
            ids[id_] = None
    return list(ids)
