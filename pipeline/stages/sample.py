"""Stage `sample`: generate the embedded sample."""

from __future__ import annotations

import typer

from pipeline.datasets.sample import generate
from pipeline.params import Params
from pipeline.paths import RAW
from pipeline.schema import VOTES


def run(p: Params) -> None:
    """Write `data/raw/sample/`: pictures, votes and a README that explains the form."""
    folder = RAW / "sample"
    shown = generate(folder, p.sample.pictures, p.sample.seed)
    counts = ", ".join(f"{name} {shown[name]}" for name in VOTES if shown[name])
    typer.echo(f"{folder}: {p.sample.pictures} pictures ({counts})")
