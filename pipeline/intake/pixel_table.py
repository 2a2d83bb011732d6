"""FER2013's CSV file of pixels, `fer2013.csv` or `icml_face_data.csv`, as a table of images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any

import cv2
import numpy as np

from pipeline.core.errors import UserError, one_line
from pipeline.intake.guards import BROKEN, Rejection
from pipeline.intake.tree import Tree

FILES = ("fer2013.csv", "icml_face_data.csv")  # the first one found is used
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
SIDE = 48  # pixels
_LONGEST_HEADER = 4096  # bytes
_LONGEST_LINE = 2**20  # bytes: a file that is no text may be one line of gigabytes


def has_pixels(tree: Tree, file: str) -> bool:
    """Return whether a CSV file has a column of pixels, or cannot be read; if not, it is another kind of table."""
    try:
        with tree.open(file) as opened:
            return b"pixels" in opened.readline(_LONGEST_HEADER)
    except BROKEN:
        return True


class PixelTable:
    """The rows of the file. A row is read when its image is; memory holds only its offset.

    `icml_face_data.csv` holds the same rows as `fer2013.csv`; its column names begin with a space.

    Args:
        tree: the data set's files.
        file: the CSV file's place in it.
        columns: the names that the header must have, in any order; `pixels` is one of them.

    Attributes:
        columns: the names in the header, in the file's order.

    Raises:
        UserError: the file cannot be read, or its header has other columns.
    """

    def __init__(
        self, tree: Tree, file: str, columns: tuple[str, ...] = ("emotion", "pixels", "Usage")
    ) -> None:
        self._tree, self.file = tree, file
        with tree.open(file) as opened:
            header = self._line(opened, _LONGEST_HEADER)
        names = [name.strip(' \r\n"') for name in header.decode("utf-8-sig", "replace").split(",")]
        if sorted(names) != sorted(columns):
            found = ", ".join(names)[:200] or "an empty file"
            raise UserError(
                f"{tree.address}/{file}: found the columns {found}, expected: {', '.join(columns)}"
            )
        self.columns = names

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def rows(self) -> Iterator[tuple[int, int, dict[str, str]]]:
        """Yield number and offset of each row, and its cells without the pixels; none if there are too few or too many.

        Row numbers are a spreadsheet's. Empty lines are counted and left out.
        """
        with self._tree.open(self.file) as opened:
            offset, number = len(self._line(opened)), 1
            while line := self._line(opened):
                number += 1
                if line.strip():
                    row = line.split(b",")
                    cells = (
                        dict(zip(self.columns, row, strict=False)) if len(row) == len(self.columns) else {}
                    )
                    cells.pop("pixels", None)
                    texts = {n: c.strip(b'" \r\n').decode("ascii", "replace") for n, c in cells.items()}
                    yield number, offset, texts
                offset += len(line)

    def read(self, place: str) -> bytes:
        """Return the row at `<any text>|<offset in decimal digits>` as a grey PNG of 48 x 48 pixels.

        Raises:
            Rejection: `unreadable_image` unless the row holds 2,304 values from 0 to 255.
        """
        self._opened.seek(int(place.rpartition("|")[2]))
        row = self._line(self._opened).split(b",")
        count = SIDE * SIDE
        found, values = "", b""
        try:
            text = row[self.columns.index("pixels")].strip(b'" \r\n').split()
            if len(text) != count:
                found = f"found {len(text):,} values, "
            values = bytes(map(int, text))
        except (ValueError, IndexError):
            pass
        if found or len(values) != count:
            raise Rejection("unreadable_image", f"{found}expected {count:,} values from 0 to 255")
        _, png = cv2.imencode(".png", np.frombuffer(values, np.uint8).reshape(SIDE, SIDE))
        return png.tobytes()

    @cached_property
    def _opened(self) -> IO[bytes]:
        return self._tree.open(self.file)

    def _line(self, opened: IO[bytes], most: int = _LONGEST_LINE) -> bytes:
        path = f"{self._tree.address}/{self.file}"
        try:
            line = opened.readline(most)
        except BROKEN as error:
            raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
        if len(line) == _LONGEST_LINE:
            raise UserError(f"{path}: found a line of {_LONGEST_LINE:,} bytes or more")
        return line
