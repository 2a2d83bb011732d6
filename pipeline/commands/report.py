"""`fer report`: write one HTML file about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.progress import say


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

    The file needs no network.
    """
    from pipeline.core.errors import UserError
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
        page = render(runs).encode("utf-8", "backslashreplace")  # names may contain lone surrogates
    with replacing(output) as temporary:
        temporary.write_bytes(page)
    say(f"report: wrote {output}, {len(page) / 1e6:.1f} MB")
