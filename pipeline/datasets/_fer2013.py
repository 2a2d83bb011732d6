"""FER2013's CSV file of pixels, `fer2013.csv` or `icml_face_data.csv`, as a table of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets._record import Refused
from pipeline.errors import UserError

FILES = ("fer2013.csv", "icml_face_data.csv")  # the first one that is there is used
SIDE = 48
_COLUMNS = {"emotion", "pixels", "Usage"}


class PixelTable:
    """The rows of the file by number, read when asked for: only their places are kept in memory.

    `icml_face_data.csv` holds the same rows under header names that begin with a space.

    Attributes:
        usages: the cell `Usage` of each row, counting from 0; None for a row with a wrong number of cells.

    Raises:
        UserError: the file cannot be read, or its header lacks a column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.usages: list[str | None] = []
        self._places: list[int] = []
        try:
            with path.open("rb") as file:
                names = [name.strip() for name in file.readline().decode("utf-8-sig", "replace").split(",")]
                if set(names) != _COLUMNS or len(names) != len(_COLUMNS):
                    found = ", ".join(names)[:200]
                    raise UserError(f"{path}: found the columns {found}, expected: emotion, pixels, Usage")
                self._pixels, usage = names.index("pixels"), names.index("Usage")
                place = file.tell()
                for line in file:
                    if line.strip():
                        cells = line.split(b",")
                        right = len(cells) == len(names)
                        self.usages.append(
                            cells[usage].strip(b'" \r\n').decode("ascii", "replace") if right else None
                        )
                        self._places.append(place)
                    place += len(line)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None

    def __len__(self) -> int:
        return len(self._places)

    def png(self, index: int) -> bytes:
        """Return row `index`, counting from 0, as a grey PNG of 48 x 48 pixels.

        Raises:
            Refused: `unreadable_image` unless the row holds 2,304 values from 0 to 255.
        """
        with self._path.open("rb") as file:
            file.seek(self._places[index])
            cells = file.readline().split(b",")
        try:
            values = bytes(map(int, cells[self._pixels].strip(b'" \r\n').split()))
        except (ValueError, IndexError):
            values = b""
        if len(values) != SIDE * SIDE:
            raise Refused(
                "unreadable_image",
                f"{self._path.name}, data row {index + 1}: expected {SIDE * SIDE} values from 0 to 255",
            )
        _, png = cv2.imencode(".png", np.frombuffer(values, np.uint8).reshape(SIDE, SIDE))
        return png.tobytes()
