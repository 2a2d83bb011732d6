"""Rows that are read in blocks are the rows that are read one by one."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.intake import csv_rows
from pipeline.intake.listing import Refused
from pipeline.intake.open import open_tree

CELL = st.sampled_from(["a", "1", "", " b", '"c,d"', '"', "é", "\0", "\t"]) | st.text(max_size=3)
LINE = st.lists(CELL, max_size=4).map(",".join) | st.just("a,1,b")
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINE, max_size=8),
    end=END,
    bom=st.booleans(),
    after=st.integers(0, 3),
    size=st.integers(1, 40),
)
def test_blocks_hold_the_lines_and_their_numbers(tmp_path, lines, end, bom, after, size):
    data = end.join(lines).encode("utf-8", "surrogatepass")
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" * bom + data)
    tree = open_tree(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_BLOCK_BYTES", size)
        try:
            wanted = [(row, line.rstrip("\n")) for row, line in csv_rows.lines(tree, "x.csv") if row > after]
        except UserError:
            with pytest.raises(UserError):
                list(csv_rows.blocks(tree, "x.csv", after))
            return
        blocks = list(csv_rows.blocks(tree, "x.csv", after))
    found = [
        (row, line) for block in blocks for row, line in zip(block.rows.tolist(), block.lines(), strict=True)
    ]
    assert found == wanted
    for block in blocks:
        if columns := block.columns(["x", "y", "z"]):
            rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
            for line, row in zip(block.lines(), rows, strict=True):
                # Where both ways give a result it is the same, but for the white space around cells.
                try:
                    assert [cell.strip() for cell in row] == csv_rows.cells(line, 3)
                except Refused:
                    assert '"' in line


def test_a_plain_file_is_read_in_blocks_with_the_cells_of_pythons_own_reader(tmp_path: Path) -> None:
    rows = [[f"n{i}", "(0, 0, 48, 48)", str(i % 7)] for i in range(20_000)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    (tmp_path / "x.csv").write_text(text.getvalue())
    blocks = list(csv_rows.blocks(open_tree(tmp_path), "x.csv"))
    columns = [block.columns(["name", "box", "vote"]) for block in blocks]
    assert len(blocks) > 1
    assert None not in columns
    found = [row for c in columns for row in zip(*(column.to_pylist() for column in c.values()), strict=True)]
    assert list(map(list, found)) == rows
