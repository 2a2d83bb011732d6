"""`fer ensemble`: average the probabilities of several runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import UserError, printable
from pipeline.core.progress import say

if TYPE_CHECKING:
    from pipeline.report.ensemble import SplitEnsemble
    from pipeline.report.run import FinishedRun

NAME_WIDTH = 30  # characters of the first column; the table has at most 120


def ensemble(
    experiments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Two or more runs: experiments (names in `fer runs`), commits, or workspace.",
        ),
    ],
) -> None:
    """Average the probabilities of several runs, and print the gain over the single runs with its interval.

    The runs must be scored on the same faces with the same classes and labels.
    """
    from pipeline.core.scratch import temporary_folder
    from pipeline.experiments.significance import RESAMPLES
    from pipeline.report.ensemble import ensembles
    from pipeline.report.predictions import predictions
    from pipeline.report.revisions import run_files
    from pipeline.report.run import FinishedRun

    names = list(dict.fromkeys(experiments))
    if len(names) < 2:
        raise UserError.of("fer ensemble", f"one run, {names[0]}", "two or more different runs")
    runs, probabilities = [], []
    with temporary_folder() as folder:
        for number, name in enumerate(names):
            copies = folder / str(number)
            copies.mkdir()
            run = FinishedRun(run_files(name, copies))
            by_split, missing = predictions(run)
            if missing:
                raise UserError(f"{name}: {missing}")
            runs.append(run)
            probabilities.append(by_split)
        results = list(ensembles(runs, probabilities))
    for result in results:
        say(f"{result.split}: {result.faces:,} faces\n")
        typer.echo(f"{_table(names, result)}\n")
    say(
        f"A gain has the 95 % interval of a paired bootstrap with {RESAMPLES:,} resamples of the faces. A * marks an "
        "interval that excludes 0. The best run is the best on these faces, score by score. The intervals say nothing "
        "about other seeds."
    )
    if chosen := [run.name for run in runs if _chose_its_epoch(run)]:
        say(f"valid chose the epoch of {', '.join(chosen)}, so its scores are too high.")


def _chose_its_epoch(run: FinishedRun) -> bool:
    """Return whether the split valid chose the epoch of a run, as far as is known."""
    return "valid" in run.splits and run.parameters.get("train.best") != "last"


def _table(names: list[str], result: SplitEnsemble) -> str:
    from tabulate import tabulate

    from pipeline.report.cells import in_full

    rows = {
        **dict(zip(map(printable, names), map(_scores, result.runs), strict=True)),
        f"average of {len(names)} runs": _scores(result.average),
        "gain over the best run": map(in_full, result.over_best.values()),
        "gain over the mean of the runs": map(in_full, result.over_mean.values()),
    }
    heads = ["run", "accuracy", "macro recall", "macro F1"]
    return tabulate(
        [[name, *cells] for name, cells in rows.items()],
        heads,
        tablefmt="simple",
        disable_numparse=True,
        maxcolwidths=[NAME_WIDTH],
    )


def _scores(scores: dict[str, float]) -> Iterator[str]:
    return (f"{value:.4f}" for value in scores.values())
