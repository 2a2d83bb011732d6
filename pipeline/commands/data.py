"""`fer data`: what is in `data/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

from pipeline.core.errors import UserError, printable
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, PREDICTIONS, RAW, SYNTHETIC

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.tables.inventory import Row


def data() -> None:
    """Summarise what is in data/: raw data, rows, rejected records, faces, labels, synthetic faces, predictions.

    What is damaged or not there is named. Whether something is older than what it was made from is DVC's to say:
    `dvc status`.
    """
    from pipeline.tables import inventory

    if not RAW.parent.is_dir():
        raise UserError(
            f"{RAW.parent}: not found; run this in the folder that holds params.yaml and dvc.yaml"
        )
    chosen = _chosen()
    _show(RAW, _each(chosen | _names(RAW), lambda name: inventory.raw(name)._asdict()))
    datasets = chosen | _names(INGESTED, ".parquet") | _names(ALIGNED, ".arrow")
    _show(INGESTED, _each(datasets, inventory.ingested))
    _show(ALIGNED, _each(datasets, inventory.aligned))
    for path, read in (
        (LABELS, inventory.labels),
        (SYNTHETIC, lambda: [inventory.synthetic()]),
        (PREDICTIONS, lambda: [inventory.predictions()]),
    ):
        _show(path, _whole(read))


def _names(folder: Path, suffix: str = "") -> set[str]:
    """Return the data sets that a folder has something of."""
    return {path.name.removesuffix(suffix) for path in folder.glob(f"[!.]*{suffix}")}


def _chosen() -> set[str]:
    """Return the data sets that params.yaml chooses; none where it is wrong, which `fer check` says."""
    from pipeline import params

    try:
        return set(params.load().datasets)
    except UserError:
        return set()


def _each(datasets: Iterable[str], read: Callable[[str], Row]) -> Iterable[Row | str]:
    """Yield a row for each data set, or the line that says why there is none."""
    for name in sorted(datasets):
        try:
            yield {"data set": name, **read(name)}
        except UserError as error:
            yield str(error)


def _whole(read: Callable[[], list[Row]]) -> list[Row | str]:
    try:
        return [*read()]
    except UserError as error:
        return [str(error)]


def _show(path: Path, rows: Iterable[Row | str]) -> None:
    """Print a table, and below it the lines that say what is missing."""
    from tabulate import tabulate

    rows = list(rows)
    typer.secho(f"{path}{'' if rows else ': nothing there'}", bold=True)
    found = [
        {key: _text(key, value) for key, value in row.items()} for row in rows if not isinstance(row, str)
    ]
    if found:
        typer.echo(
            tabulate(found, "keys", tablefmt="simple", disable_numparse=True, colalign=_sides(found[0]))
        )
    for line in rows:
        if isinstance(line, str):
            typer.secho(line, fg=typer.colors.YELLOW)
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


def _sides(row: dict[str, str]) -> list[str]:
    """Return where each column's text stands: names to the left, numbers to the right."""
    return ["left" if key in ("data set", "kind", "class", "face") else "right" for key in row]
