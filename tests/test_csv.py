"""Rows of CSV files: their numbers and cells are those of Python's own reader."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.tree import open_tree

LINE = st.lists(st.sampled_from(["a", "1", "", " b", "é", "\0", "\t"]), max_size=4).map(",".join)
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=8), end=END, bom=st.booleans())
def test_rows_are_the_lines_that_hold_anything_with_their_numbers(tmp_path, lines, end, bom):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" * bom + end.join(lines).encode())
    rows = [(row, line.rstrip("\n")) for row, line in csv_rows.lines(open_tree(tmp_path), "x.csv")]
    step = len(end.replace("\r\n", "\n"))
    assert rows == [(1 + step * i, line) for i, line in enumerate(lines) if line.strip(", \t")]


def test_bytes_that_are_no_utf_8_stop_at_their_row(tmp_path):
    (tmp_path / "x.csv").write_bytes("a\nb\né\n".encode("latin-1"))
    with pytest.raises(UserError, match="row 3: found byte 0xe9, expected: text in UTF-8"):
        list(csv_rows.lines(open_tree(tmp_path), "x.csv"))


def test_a_plain_file_is_read_with_the_cells_of_pythons_own_reader(tmp_path: Path) -> None:
    rows = [[f"n{i}", "(0, 0, 48, 48)", str(i % 7)] for i in range(20_000)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    (tmp_path / "x.csv").write_text(text.getvalue())
    found = [csv_rows.cells(line, 3) for _, line in csv_rows.lines(open_tree(tmp_path), "x.csv")]
    assert found == rows
