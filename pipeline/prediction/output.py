"""Predictions as rows: a data frame, or a CSV, JSON or Parquet file that is written as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError, printable
from pipeline.core.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.prediction.expression import Prediction

FORMATS = (".csv", ".json", ".parquet")
BOX = ("x1", "y1", "x2", "y2")
# Rows of a Parquet row group.
GROUP_ROWS = 4096

Add = Callable[["Prediction"], None]


def schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns, one row per face, and one for a picture without.

    - `source`: the path, as it was named or found; `frame` and `time` (s) of a video, else null.
    - `status`: `found`, `whole` (no face, the whole picture stands in for it, as in training with `align.missing:
      keep`), `missing` (no face) or `unreadable`, for which `reason` is given.
    - `face`: number in the picture, from 0, from left to right; null where there is none. `main`: whether it is the
      one that `align` takes, of which a picture with faces has one.
    - `x1`, `y1`, `x2`, `y2`: its box in pixels of the picture; `score`: the detector's, 0 to 1; null unless found.
    - `label`: the likeliest class; `probability`: that of it; `p_<class>`: those of all, of sum 1.
    """
    return pa.schema(
        [
            ("source", pa.string()),
            ("frame", pa.int64()),
            ("time", pa.float64()),
            ("status", pa.string()),
            ("face", pa.int64()),
            ("main", pa.bool_()),
            *((name, pa.float32()) for name in (*BOX, "score")),
            ("label", pa.string()),
            ("probability", pa.float32()),
            *((f"p_{name}", pa.float32()) for name in classes),
            ("reason", pa.string()),
        ]
    )


def rows(prediction: Prediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of one picture, in the columns of `schema`."""
    shot = prediction.shot
    row: dict[str, Any] = dict.fromkeys(schema(classes).names)
    row |= {"source": printable(shot.source.path), "frame": shot.frame, "time": shot.time}
    if prediction.refused:
        return [row | {"status": "unreadable", "reason": prediction.refused}]
    if not prediction.faces:
        return [row | {"status": "missing"}]
    found = []
    for number, expression in enumerate(prediction.faces):
        face, shares = expression.cut.face, expression.probabilities.tolist()
        best = int(expression.probabilities.argmax())
        place = {} if face is None else dict(zip(BOX, face.box.tolist(), strict=True)) | {"score": face.score}
        found.append(
            row
            | {"status": "whole" if face is None else "found", "face": number, "main": expression.cut.main}
            | place
            | {"label": classes[best], "probability": shares[best]}
            | {f"p_{name}": share for name, share in zip(classes, shares, strict=True)}
        )
    return found


def table(predictions: Iterable[Prediction], classes: Sequence[str]) -> pd.DataFrame:
    """Return all rows as a data frame with nullable types."""
    import pandas as pd

    found = [row for prediction in predictions for row in rows(prediction, classes)]
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return pa.Table.from_pylist(found, schema(classes)).to_pandas(types_mapper=types.get)


def check_format(path: Path) -> None:
    """Refuse a file name whose ending says no format.

    Raises:
        UserError: names the endings.
    """
    if path.suffix not in FORMATS:
        raise UserError.of("--output", repr(str(path)), f"a file whose name ends in {', '.join(FORMATS)}")


@contextmanager
def written(path: Path | None, classes: Sequence[str]) -> Iterator[Add]:
    """Yield a function that adds predictions to a file, by its ending, or as CSV to standard output.

    The file is there when the block succeeds; after a failure an earlier one is left as it was.
    """
    if path is None:
        yield _csv(sys.stdout, classes)
        return
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            with _Parquet(temporary, classes) as file:
                yield file.add
            return
        with temporary.open("w", encoding="utf-8", newline="") as text:
            if path.suffix == ".csv":
                yield _csv(text, classes)
            else:
                text.write("[")
                yield _json(text, classes)
                text.write("\n]\n")


def _csv(file: IO[str], classes: Sequence[str]) -> Add:
    names = schema(classes).names
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()

    def add(prediction: Prediction) -> None:
        for row in rows(prediction, classes):
            writer.writerow({name: _cell(value) for name, value in row.items()})
        file.flush()

    return add


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.7g}" if isinstance(value, float) else value


def _json(file: IO[str], classes: Sequence[str]) -> Add:
    """Write objects with the box as a list and the probabilities as an object of their own."""
    before = "\n"

    def add(prediction: Prediction) -> None:
        nonlocal before
        for row in rows(prediction, classes):
            box = [_short(row.pop(name)) for name in BOX]
            shares = {name: _short(row.pop(f"p_{name}")) for name in classes}
            row = {name: _short(value) for name, value in row.items()}
            reason = row.pop("reason")
            row |= {
                "box": None if box[0] is None else box,
                "probabilities": None if row["label"] is None else shares,
                "reason": reason,
            }
            file.write(before + json.dumps(row, ensure_ascii=False, allow_nan=False))
            before = ",\n"

    return add


def _short(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value


class _Parquet:
    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._schema, self._classes = schema(classes), classes
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, prediction: Prediction) -> None:
        self._waiting += rows(prediction, self._classes)
        if len(self._waiting) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
        self._waiting = []
