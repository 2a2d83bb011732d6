"""`fer runs`: list the experiments, with what each changed and its scores."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import printable
from pipeline.core.progress import say

if TYPE_CHECKING:
    from pipeline.experiments.runs import Run

WIDTHS = [34, 40]  # characters of the first columns; the table has at most 120
SIDES = ["left", "left", "left", "right", "right", "right"]
SUFFIXES = (".md", ".csv")


def runs(
    everywhere: Annotated[
        bool, typer.Option("--all", help="Also list the experiments that started from other commits.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write: .md or .csv.", show_default="none: the list is printed"),
    ] = None,
) -> None:
    """List the last commit and its finished experiments, the settings that each changed, and its scores.

    The scores are those of the last split that was scored: test, if there is one.
    """
    from tabulate import tabulate

    from pipeline.core.files import replacing
    from pipeline.experiments.runs import finished
    from pipeline.experiments.table import check_suffix

    if output is not None:
        check_suffix(output, SUFFIXES)
    found = list(finished(everywhere))
    table = partial(tabulate, list(map(_row, found)), "keys", disable_numparse=True, colalign=SIDES)
    if output is None:
        typer.echo(table(tablefmt="simple", maxcolwidths=WIDTHS))
        return
    text = _csv(found) if output.suffix == ".csv" else table(tablefmt="github") + "\n"
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    say(f"runs: wrote {output}")


def _row(run: Run) -> dict[str, str]:
    from pipeline.evaluation.warnings import MACRO

    scores = {
        MACRO.get(name, name): "-" if value is None else f"{value:.4f}" for name, value in run.scores.items()
    }
    return {
        "run": printable(run.name),
        "changed": printable(_changed(run)),
        "split": run.split or "-",
    } | scores


def _changed(run: Run) -> str:
    return ", ".join(f"{key}={value}" for key, value in run.changed.items())


def _csv(runs: list[Run]) -> str:
    """Return a line for each run, with its scores in full precision. Unknown values are empty."""
    from pipeline.tables.csv_cells import row_writer

    text = io.StringIO()
    write = row_writer(text)
    write(["run", "changed", "split", *runs[0].scores])
    for run in runs:
        write([run.name, _changed(run), run.split, *run.scores.values()])
    return text.getvalue()
