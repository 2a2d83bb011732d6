"""Stage `sample`: generate the embedded sample."""

from __future__ import annotations

from pipeline.core.progress import say
from pipeline.params.model import Params
from pipeline.sample.people import generate
from pipeline.tables.paths import RAW
from pipeline.tables.vocabulary import VOTES


def run(p: Params) -> None:
    """Write `data/raw/sample/`: images, votes and a README that explains the format."""
    folder = RAW / "sample"
    shown = generate(folder, p.sample.images, p.sample.seed, p.workers)
    counts = ", ".join(f"{name} {shown[name]}" for name in VOTES if shown[name])
    say(f"{folder}: {p.sample.images} images ({counts})")
