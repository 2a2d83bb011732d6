"""`fer runs`: list the experiments, with what each changed and its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import printable

if TYPE_CHECKING:
    from pipeline.experiments.runs import Run

WIDTHS = [34, 40]  # characters of the first columns; the table has at most 120


def runs(
    everywhere: Annotated[
        bool, typer.Option("--all", help="Also list the experiments that started from other commits.")
    ] = False,
) -> None:
    """List the last commit and its finished experiments, the settings that each changed, and its scores.

    The scores are those of the last split that was scored: test, if there is one.
    """
    from tabulate import tabulate

    from pipeline.experiments.runs import finished

    rows = [_row(run) for run in finished(everywhere)]
    sides = ["left", "left", "left", "right", "right", "right"]
    typer.echo(
        tabulate(rows, "keys", tablefmt="simple", disable_numparse=True, colalign=sides, maxcolwidths=WIDTHS)
    )


def _row(run: Run) -> dict[str, str]:
    from pipeline.evaluation.warnings import MACRO

    changed = ", ".join(f"{key}={value}" for key, value in run.changed.items())
    scores = {
        MACRO.get(name, name): "-" if value is None else f"{value:.4f}" for name, value in run.scores.items()
    }
    return {"run": printable(run.name), "changed": printable(changed), "split": run.split or "-"} | scores
