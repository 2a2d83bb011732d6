"""Write predictions as text, or as rows of a data frame or of a CSV, JSON or Parquet file."""

from __future__ import annotations

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
from pipeline.core.progress import say
from pipeline.tables.csv_cells import Number, row_writer

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.prediction.expression import Expression, Prediction

FORMATS = (".csv", ".json", ".parquet")
STDOUT = Path("-")  # for CSV on standard output
BOX = ("x1", "y1", "x2", "y2")
GROUP_ROWS = 4096  # of a Parquet row group

Add = Callable[["Prediction"], None]


def schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns. There is one row per face, and one per image without a face.

    - `source`: path of the image or video. `frame` and `time` (s): position in a video, else null.
    - `status`: `found`; `whole` (no face, so the whole image is used, as in training with `align.missing: keep`);
      `missing` (no face); `unreadable` (`reason` says why).
    - `face`: number in the image, from left to right, from 0; null without a face. `main`: whether `align` would
      choose this face. An image with faces has exactly one main face.
    - `x1`, `y1`, `x2`, `y2`: box in pixels. `score`: the detector's score, 0 to 1. Null unless `status` is `found`.
    - `label`: the most probable class. `probability`: its probability. `p_<class>`: all probabilities; their sum is 1.
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
    """Return the rows of one image, with the columns of `schema`."""
    image = prediction.image
    row: dict[str, Any] = dict.fromkeys(schema(classes).names)
    row |= {"source": printable(image.source.path), "frame": image.frame, "time": image.time}
    if prediction.error:
        return [row | {"status": "unreadable", "reason": prediction.error}]
    if not prediction.faces:
        return [row | {"status": "missing"}]
    return [
        row | {"face": number} | _columns(expression) for number, expression in enumerate(prediction.faces)
    ]


def _columns(expression: Expression) -> dict[str, Any]:
    detection, box = expression.face.detection, {}
    if detection is not None:
        box = dict(zip(BOX, detection.box.tolist(), strict=True)) | {"score": detection.score}
    names = [f"p_{name}" for name in expression.classes]
    return {
        "status": "whole" if detection is None else "found",
        "main": expression.face.main,
        "label": expression.label,
        "probability": expression.confidence,
        **box,
        **dict(zip(names, expression.probabilities.tolist(), strict=True)),
    }


def table(predictions: Iterable[Prediction], classes: Sequence[str]) -> pd.DataFrame:
    """Return all rows as a data frame with nullable types."""
    import pandas as pd

    records = [row for prediction in predictions for row in rows(prediction, classes)]
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return pa.Table.from_pylist(records, schema(classes)).to_pandas(types_mapper=types.get)


def check_format(path: Path) -> None:
    """Reject a file name whose suffix is not that of a format.

    Raises:
        UserError: names the allowed suffixes.
    """
    if path.suffix not in FORMATS and path != STDOUT:
        raise UserError.of(
            "--output", repr(str(path)), f"a file whose name ends in {', '.join(FORMATS)}, or -"
        )


@contextmanager
def written(path: Path | None, classes: Sequence[str]) -> Iterator[Add]:
    """Yield a function that writes predictions to a file, in the format of its suffix.

    Args:
        path: the file, which is replaced only if the block succeeds; `STDOUT`; None for text on standard output.
        classes: K names.
    """
    if path is None or path == STDOUT:
        yield _print if path is None else _csv(sys.stdout, classes)
        return
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            with _parquet(temporary, classes) as add:
                yield add
            return
        with temporary.open("w", encoding="utf-8", newline="") as text:
            if path.suffix == ".csv":
                yield _csv(text, classes)
            else:
                text.write("[")
                yield _json(text, classes)
                text.write("\n]\n")


def _print(prediction: Prediction) -> None:
    """Print a line for each face of an image, and its probabilities below."""
    image = prediction.image
    name = printable(image.source.path)
    if image.frame is not None:
        name += f", frame {image.frame}"
    if image.time is not None:
        name += f", {image.time:.3f} s"
    if prediction.error:
        say(f"{name}: unreadable: {printable(prediction.error)}")
    elif not prediction.faces:
        say(f"{name}: no face")
    for number, expression in enumerate(prediction.faces):
        found = "no face, the whole image"
        if (detection := expression.face.detection) is not None:
            box = " ".join(f"{edge:.1f}" for edge in detection.box.tolist())
            main = " (main)" if expression.face.main else ""
            found = f"face {number}{main}, box {box}, score {detection.score:.3f}"
        say(f"{name}: {found}: {expression.label} {expression.confidence:.3f}")
        probabilities = zip(expression.classes, expression.probabilities.tolist(), strict=True)
        say("  " + ", ".join(f"{cls} {share:.3f}" for cls, share in probabilities))


def _csv(file: IO[str], classes: Sequence[str]) -> Add:
    write = row_writer(file)
    names = schema(classes).names
    write(names)

    def add(prediction: Prediction) -> None:
        for row in rows(prediction, classes):
            write(_cell(row[name]) for name in names)
        file.flush()

    return add


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return Number(f"{value:.7g}") if isinstance(value, float) else value


def _json(file: IO[str], classes: Sequence[str]) -> Add:
    """Return a function that writes JSON objects, with the box as a list and the probabilities as an object."""
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


@contextmanager
def _parquet(path: Path, classes: Sequence[str]) -> Iterator[Add]:
    columns = schema(classes)
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, columns) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, columns))
            waiting.clear()

        def add(prediction: Prediction) -> None:
            waiting.extend(rows(prediction, classes))
            if len(waiting) >= GROUP_ROWS:
                flush()

        yield add
        flush()
