"""Figures as PNG files. Equal input gives equal bytes, whatever the user's settings and the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.core.files import replacing

DPI = 110
INK, PALE = "#222222", "#777777"  # colours of text


@contextmanager
def figure_file(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of width x height inches. It is written to `path`, a PNG, if the block succeeds.

    The figure has matplotlib's default style and fonts. The file holds no time and no software name.

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
        if layout := figure.get_layout_engine():
            # Once is enough: `savefig` would lay the figure out and draw it twice.
            layout.execute(figure)
            figure.set_layout_engine("none")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
