"""FER2013's CSV file of pixels, `fer2013.csv` or `icml_face_data.csv`, as a table of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any

import cv2
import numpy as np

from pipeline.core.errors import UserError, one_line
from pipeline.intake.listing import Refused
from pipeline.intake.tree import BROKEN, Tree

FILES = ("fer2013.csv", "icml_face_data.csv")  # the first one that is there is used
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
SIDE = 48
_HEADER = 4096  # bytes
_MOST = 2**20  # bytes of a line; a file that is no text may be one line of gigabytes


class PixelTable:
    """The rows of the file, read when asked for: only their places are kept in memory.

    `icml_face_data.csv` holds the same rows under header names that begin with a space.

    Args:
        tree: the data set's files.
        file: the CSV's place in it.
        columns: the names that its header must have, in any order; `pixels` is one of them.

    Attributes:
        columns: the names in the header, in the file's order.

    Raises:
        UserError: the file cannot be read, or its header has other columns.
    """

    def __init__(
        self, tree: Tree, file: str, columns: tuple[str, ...] = ("emotion", "pixels", "Usage")
    ) -> None:
        self._tree, self.file = tree, file
        self.where = f"{tree.address}/{file}"
        with tree.open(file) as opened:
            header = self._line(opened, _HEADER)
        names = [name.strip(' \r\n"') for name in header.decode("utf-8-sig", "replace").split(",")]
        if sorted(names) != sorted(columns):
            found = ", ".join(names)[:200] or "an empty file"
            raise UserError(f"{self.where}: found the columns {found}, expected: {', '.join(columns)}")
        self.columns = names

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def rows(self) -> Iterator[tuple[int, dict[str, str] | None]]:
        """Yield the place of every row that holds anything and its cells but the pixels, None if it is torn."""
        pixels = self.columns.index("pixels")
        others = [(i, name) for i, name in enumerate(self.columns) if i != pixels]
        with self._tree.open(self.file) as opened:
            place = len(self._line(opened))
            while line := self._line(opened):
                if line.strip():
                    cells = line.split(b",")
                    right = len(cells) == len(self.columns)
                    yield (
                        place,
                        {n: cells[i].strip(b'" \r\n').decode("ascii", "replace") for i, n in others}
                        if right
                        else None,
                    )
                place += len(line)

    def read(self, place: str) -> bytes:
        """Return the row at a place, in decimal digits, as a grey PNG of 48 x 48 pixels.

        Raises:
            Refused: `unreadable_image` unless the row holds 2,304 values from 0 to 255.
        """
        self._opened.seek(int(place))
        cells = self._line(self._opened).split(b",")
        found = -1
        try:
            text = cells[self.columns.index("pixels")].strip(b'" \r\n').split()
            found = len(text)
            values = bytes(map(int, text))
        except (ValueError, IndexError):
            values = b""
        if len(values) != SIDE * SIDE:
            count = f"found {found:,} values, " if found not in (-1, SIDE * SIDE) else ""
            raise Refused("unreadable_image", f"{count}expected {SIDE * SIDE:,} values from 0 to 255")
        _, png = cv2.imencode(".png", np.frombuffer(values, np.uint8).reshape(SIDE, SIDE))
        return png.tobytes()

    @cached_property
    def _opened(self) -> IO[bytes]:
        return self._tree.open(self.file)

    def _line(self, opened: IO[bytes], most: int = _MOST) -> bytes:
        try:
            line = opened.readline(most)
        except BROKEN as error:
            raise UserError(f"{self.where}: cannot be read: {one_line(error)}") from None
        if len(line) == _MOST:
            raise UserError(f"{self.where}: found a line of {_MOST:,} bytes or more")
        return line
