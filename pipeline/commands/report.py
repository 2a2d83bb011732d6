"""`fer report`: one HTML file about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="An experiment as `dvc exp show` names it, a commit, or workspace. The first is shown in full, all "
            "are compared.",
            show_default="workspace",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML file about a run, which needs no network: what was run, data, faces, curves, scores, mistakes."""
    from tempfile import TemporaryDirectory

    from pipeline.core.errors import UserError
    from pipeline.core.files import replacing
    from pipeline.report.collect import SCORES, Run
    from pipeline.report.page import render
    from pipeline.report.revisions import WORKSPACE, open_source

    names = list(dict.fromkeys(experiments or [WORKSPACE]))
    with TemporaryDirectory() as folder:
        runs = []
        for i, name in enumerate(names):
            place = Path(folder) / str(i)
            place.mkdir()
            runs.append(Run(open_source(name, place)))
            if not runs[-1].splits:
                raise UserError(f"{name}: {SCORES} is not there or scores no split: run `dvc repro`")
        page = render(runs).encode("utf-8", "backslashreplace")  # a name may hold what is no character
    with replacing(output) as temporary:
        temporary.write_bytes(page)
    typer.echo(f"report: wrote {output}, {len(page) / 1e6:.1f} MB")
