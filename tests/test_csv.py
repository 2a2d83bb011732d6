"""Rows of CSV files: their numbers and cells are those of Python's own reader, and text that we write stays text."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.tree import open_tree
from pipeline.tables.csv_cells import Number, row_writer

LINE = st.lists(st.sampled_from(["a", "1", "", " b", "é", "\0", "\t"]), max_size=4).map(",".join)
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=8), end=END, bom=st.booleans())
def test_rows_are_the_lines_that_hold_anything_with_their_numbers(tmp_path, lines, end, bom):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" * bom + end.join(lines).encode())
    rows = [(row, line.rstrip("\n")) for row, line in csv_rows.lines(open_tree(tmp_path), "x.csv")]
    step = len(end.replace("\r\n", "\n"))
    assert rows == [(1 + step * i, line) for i, line in enumerate(lines) if line.strip(", \t")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_in_the_encodings_of_excel_is_read(tmp_path, encoding):
    text = "image\tgroup\nJosé.png\tZoë\nb.png\t€ œ\n"
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    assert "".join(line for _, line in csv_rows.lines(open_tree(tmp_path), "x.csv")) == text


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("José".encode() + "é".encode("cp1252"), "byte 0xe9"),
        (b"\x89PNG\x1a", "byte 0x89"),
        (b"\x8f", "byte 0x8f"),
    ],
)
def test_bytes_in_no_known_encoding_stop_at_their_row(tmp_path, line, found):
    (tmp_path / "x.csv").write_bytes(b"a\nb\n" + line + b"\n")
    with pytest.raises(
        UserError, match=f"row 3: found {found}, expected: text in UTF-8, UTF-16 or Windows-1252"
    ):
        list(csv_rows.lines(open_tree(tmp_path), "x.csv"))
    (tmp_path / "x.csv").write_bytes("a\nb".encode("utf-16") + b"\xd8")
    with pytest.raises(UserError, match=r"x.csv: found .*utf-16.* truncated data, expected: text in UTF-8"):
        list(csv_rows.lines(open_tree(tmp_path), "x.csv"))


def test_a_plain_file_is_read_with_the_cells_of_pythons_own_reader(tmp_path: Path) -> None:
    rows = [[f"n{i}", "(0, 0, 48, 48)", str(i % 7)] for i in range(20_000)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    (tmp_path / "x.csv").write_text(text.getvalue())
    found = [csv_rows.cells(line, 3) for _, line in csv_rows.lines(open_tree(tmp_path), "x.csv")]
    assert found == rows


TEXT = st.text("=+-@\t\r\n;,'\" a1", max_size=6)


@given(st.lists(TEXT | st.integers() | st.floats(allow_nan=False) | st.none(), min_size=2, max_size=5))
def test_no_text_is_a_formula_and_numbers_stay_numbers(cells):
    file = io.StringIO(newline="")
    row_writer(file)([*cells, Number("-1e-07")])
    [row] = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row.pop() == "-1e-07"
    for cell, written in zip(cells, row, strict=True):
        if isinstance(cell, str):
            assert not any(part[:1] in tuple("=+-@\t\r") for part in re.split("[;\n]", written) if part)
            assert written.replace("'", "") == cell.replace("'", "").replace("\r", "\n")
        else:
            assert written == ("" if cell is None else str(cell))


def test_all_csv_files_are_written_in_this_way():
    package = Path(csv_rows.__file__).parents[1]
    writers = {
        path.name for path in package.rglob("*.py") if re.search(r"csv\.\w*[wW]riter", path.read_text())
    }
    assert writers == {"csv_cells.py"}
