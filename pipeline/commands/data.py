"""`fer data`: summarise the contents of `data/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from pipeline.core.errors import UserError, printable
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, METRICS, PREDICTIONS, RAW, SYNTHETIC

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.tables.inventory import Counts

# Columns of text, which are aligned to the left.
LEFT = ("data set", "kind", "class", "face", "rejected because", "left out because", "leak")
KIND_WIDTH = 60  # characters of a line that says what a data set is, and to where it is linked


def data() -> None:
    """Summarise data/: raw data, records, faces, labels, leaks, synthetic faces and predictions.

    Missing and damaged files are reported. Use `dvc status` to see which files are out of date.
    """
    from pipeline.tables import inventory

    if not RAW.parent.is_dir():
        raise UserError(
            f"{RAW.parent}: not found; run this in the folder that holds params.yaml and dvc.yaml"
        )
    chosen = _chosen()
    # With DVC, the file data/raw/<dataset>.dvc stands for a data set, which may not be here.
    raw = {name.removesuffix(".dvc") for name in _names(RAW)}
    _show(RAW, _each(chosen | raw, lambda name: inventory.raw_data(name)._asdict()))
    datasets = chosen | _names(INGESTED, ".parquet") | _names(ALIGNED, ".arrow")
    _show(INGESTED, _each(datasets, inventory.ingested_rows))
    reads = [partial(inventory.rejected_records, name) for name in sorted(datasets)]
    if rejected := [row for read in reads for row in _whole(read)]:
        _show(INGESTED / "*.rejected.csv", rejected)
    _show(ALIGNED, _each(datasets, inventory.aligned_faces))
    for path, read in (
        (LABELS, inventory.labelled_rows),
        (f"{METRICS / 'label.json'}, dropped images", inventory.dropped_images),
        (f"{METRICS / 'label.json'}, leaks", inventory.leaks),
        (SYNTHETIC, lambda: [inventory.synthetic_faces()]),
        (PREDICTIONS, lambda: [inventory.predicted_rows()]),
    ):
        _show(path, _whole(read))


def _names(folder: Path, suffix: str = "") -> set[str]:
    """Return the data sets that have files in a folder."""
    return {path.name.removesuffix(suffix) for path in folder.glob(f"[!.]*{suffix}")}


def _chosen() -> set[str]:
    """Return the data sets in params.yaml; none if params.yaml has an error, which `fer check` reports."""
    from pipeline import params

    try:
        return set(params.load().datasets)
    except UserError:
        return set()


def _each(datasets: Iterable[str], read: Callable[[str], Counts]) -> Iterable[Counts | str]:
    """Yield a row for each data set, or an error message."""
    for name in sorted(datasets):
        try:
            yield {"data set": name, **read(name)}
        except UserError as error:
            yield str(error)


def _whole(read: Callable[[], list[Counts]]) -> list[Counts | str]:
    try:
        return [*read()]
    except UserError as error:
        return [str(error)]


def _show(title: Path | str, rows: Iterable[Counts | str]) -> None:
    """Print a table, and below it the error messages."""
    from tabulate import tabulate

    from pipeline.core.progress import wrapped

    rows = list(rows)
    typer.secho(f"{title}{'' if rows else ': none'}", bold=True)
    cells = [{key: _text(key, value) for key, value in row.items()} for row in rows if isinstance(row, dict)]
    if cells:
        sides = ["left" if key in LEFT else "right" for key in cells[0]]
        widths = [KIND_WIDTH if key == "kind" else None for key in cells[0]]
        typer.echo(
            tabulate(
                cells, "keys", tablefmt="simple", disable_numparse=True, colalign=sides, maxcolwidths=widths
            )
        )
    for error in (row for row in rows if isinstance(row, str)):
        typer.secho(wrapped(error), fg=typer.colors.YELLOW)
    typer.echo()


def _text(key: str, value: Any) -> str:
    from pipeline.core.progress import in_bytes

    if value is None:
        return "-"
    if key == "size":
        return in_bytes(value)
    if key == "found rate":
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
