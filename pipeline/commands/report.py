"""`fer report`: write one HTML file about a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import UserError, printable
from pipeline.core.progress import say

if TYPE_CHECKING:
    from pipeline.report.comparison import PairedScores

NAME_WIDTH = 30  # characters of a run's name in a line; the table has at most 120


def report(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Show these runs: experiments (names in `fer runs`), commits, or workspace. The first run is "
            "shown in full and compared with the others.",
            show_default="workspace",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write this file.")] = Path("report.html"),
) -> None:
    """Write one HTML file about a run: parameters, data, faces, training, scores and mistakes.

    The file needs no network. The scores of several runs are also printed, with p-values of their differences.
    """
    from pipeline.core.files import replacing
    from pipeline.core.scratch import temporary_folder
    from pipeline.report.page import render
    from pipeline.report.revisions import WORKSPACE, run_files
    from pipeline.report.run import SCORES, FinishedRun

    names = list(dict.fromkeys(experiments or [WORKSPACE]))
    with temporary_folder() as folder:
        runs = []
        for i, name in enumerate(names):
            copies = folder / str(i)
            copies.mkdir()
            runs.append(FinishedRun(run_files(name, copies)))
            if not runs[-1].splits:
                raise UserError(f"{name}: {SCORES} is missing or has no scores: run `dvc repro`")
        html, scores = render(runs)
        page = html.encode("utf-8", "backslashreplace")  # names may contain lone surrogates
    with replacing(output) as temporary:
        temporary.write_bytes(page)
    if scores:
        _print(scores)
    say(f"report: wrote {output}, {len(page) / 1e6:.1f} MB")


def _print(scores: PairedScores) -> None:
    from tabulate import tabulate

    from pipeline.experiments.significance import RESAMPLES
    from pipeline.report.cells import in_full

    say(f"{scores.headline.caption}\n")
    typer.echo(
        tabulate(
            [list(map(in_full, row)) for row in scores.headline.rows],
            list(map(printable, scores.headline.columns)),
            tablefmt="simple",
            disable_numparse=True,
            maxcolwidths=[None, NAME_WIDTH],
            maxheadercolwidths=NAME_WIDTH,
        )
    )
    for note in scores.notes:
        say(f"\n{printable(note)}")
    say(
        f"\nA difference has the 95 % interval of a paired bootstrap with {RESAMPLES:,} resamples of the faces. "
        "A * marks an interval that excludes 0. The p-values are two-sided. They cover the choice of faces, not of "
        "seeds, and are not corrected for the number of runs.\n",
        indent="",
    )
