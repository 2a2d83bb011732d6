"""Figures as PNG files. The same input gives the same bytes, whoever draws it, wherever and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.core.files import replacing

DPI = 110
INK = "#222222"


@contextmanager
def figure_file(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of width x height inches that is written to `path`, a PNG, if the block succeeds.

    matplotlib's own style and fonts; no time or software name in the file.

    Raises:
        UserError: the file cannot be written.
    """
    # A user's matplotlibrc must not change the bytes.
    with (
        matplotlib.style.context("default"),
        matplotlib.rc_context({"text.color": INK, "axes.labelcolor": INK}),
    ):
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
