"""Charts as SVG inside the page. Text remains text, and colours follow the page, light or dark.

They are drawn for a phone, about 340 pixels wide, and grow with the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.core.errors import printable
from pipeline.report.cells import Number

WIDTH = 4.7  # inches: 338 points, each a pixel on a phone

# matplotlib draws in these colours, which the page's CSS variables then replace.
COLOURS = {
    "#010101": "--ink",
    "#020202": "--faint",
    "#030303": "--one",
    "#040404": "--two",
    "#050505": "--three",
}
INK, FAINT, ONE, TWO, THREE = COLOURS

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fer",
    "text.parse_math": False,  # names may contain $
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
}


class Svg:
    """A figure, and its markup after the drawing block has ended."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.markup = Markup()


@contextmanager
def svg_figure(name: str, description: str, height: float) -> Iterator[Svg]:
    """Yield an empty figure, which gets its markup at the end of the block.

    Args:
        name: prefix of the ids of the figure's elements, unique on the page.
        description: text for screen readers.
        height: inches.
    """
    with matplotlib.style.context("default"), matplotlib.rc_context(_STYLE):
        svg = Svg(Figure(figsize=(WIDTH, height), dpi=72, layout="constrained"))
        FigureCanvasSVG(svg.figure)
        yield svg
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with warnings.catch_warnings():
            # The page's font has the glyphs that matplotlib's font lacks.
            warnings.filterwarnings("ignore", "Glyph")
            svg.figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg.markup = Markup(_in_page(file.getvalue(), name, description))


def _in_page(text: str, name: str, description: str) -> str:
    """Return an SVG file of matplotlib as an element of the page, without prologue and style, with prefixed ids."""
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.S
    )
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img" aria-label="@">', text, count=1
    )
    # Only markers and clips are referred to; the ids of groups are removed.
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda id_: f' id="{name}-{id_[1]}"' if id_[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\1{name}-", text)
    text = re.sub("|".join(COLOURS), lambda colour: f"var({COLOURS[colour[0]]})", text)
    text = re.sub(r"(font: [\d.]+px)[^;\"]*", r"\1 var(--font)", text)
    return re.sub(r"\s*\n\s*", "\n", text).replace('aria-label="@"', f'aria-label="{escape(description)}"')


def balance_bars(classes: list[str], counts: dict[str, list[float]]) -> Markup:
    """Return bars of the share of each class in each split.

    Args:
        classes: K names.
        counts: number of faces of each class, [K], by split.
    """
    shares = {split: np.array(some) / max(sum(some), 1) for split, some in counts.items()}
    with svg_figure(
        "balance", "Share of each class in each split; the numbers are in the table", _height(classes, shares)
    ) as svg:
        axes = svg.figure.add_subplot()
        _bars(axes, classes, shares)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("share of the split")
    return svg.markup


def score_bars(split: str, classes: list[str], scores: dict[str, list[float | None]]) -> Markup:
    """Return bars of the scores of each class, [K] by name of the score. Undefined scores have no bar."""
    description = f"{', '.join(scores)} of each class on {split}; the numbers are in the table"
    drawn = {name: np.array(values, float) for name, values in scores.items()}
    with svg_figure(f"classes-{split}", description, _height(classes, drawn)) as svg:
        axes = svg.figure.add_subplot()
        _bars(axes, classes, drawn)
        axes.set_xlim(0, 1)
    return svg.markup


def _height(classes: Sequence[str], series: dict[str, np.ndarray]) -> float:
    return 0.9 + len(classes) * (0.14 + 0.13 * len(series))


def _bars(axes: Axes, names: Sequence[str], series: dict[str, np.ndarray]) -> None:
    """Draw a group of bars for each name, the first name on top."""
    thick = 0.8 / len(series)
    places = np.arange(len(names))
    for i, (label, values) in enumerate(series.items()):
        offset = (i - (len(series) - 1) / 2) * thick
        axes.barh(
            places + offset, np.nan_to_num(values), thick * 0.9, color=(ONE, TWO, THREE)[i % 3], label=label
        )
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2, handlelength=1
    )


def reliability_diagram(
    split: str, images: np.ndarray, correct: np.ndarray, confidence: np.ndarray
) -> Markup:
    """Return the reliability diagram, and below it the share of faces at each confidence.

    `images`, `correct` and `confidence` are the results of `confidence_bins`, with at least one face.
    """
    some, count = images > 0, len(images)
    left = np.arange(count)[some] / count
    accuracy, mean = correct[some] / images[some], confidence[some] / images[some]
    description = f"Accuracy by confidence on {split}; the numbers are in the table"
    with svg_figure(f"reliability-{split}", description, 4.6) as svg:
        upper, lower = svg.figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.bar(left, accuracy, 0.92 / count, align="edge", color=ONE, label="accuracy")
        upper.plot(mean, mean, "_", color=TWO, markersize=14, markeredgewidth=3, label="confidence")
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
        lower.bar(left, images[some] / images.sum(), 0.92 / count, align="edge", color=ONE)
        lower.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="faces")
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.grid(axis="y")
    return svg.markup


def score_intervals(
    name: str, names: list[str], title: str, scores: list[Number], of: str = "each run"
) -> Markup:
    """Return a point with an interval for each score, the first one on top. Missing scores have no point."""
    description = f"{title} of {of}; the numbers are in the table"
    with svg_figure(name, description, 0.9 + 0.3 * len(names)) as svg:
        axes = svg.figure.add_subplot()
        for row, score in enumerate(scores):
            if score.value is None:
                continue
            if score.low is not None and score.high is not None:
                axes.plot(
                    [score.low, score.high], [row, row], color=ONE, linewidth=2.5, solid_capstyle="butt"
                )
            axes.plot(score.value, row, "o", color=ONE, markersize=7)
        axes.set_yticks(range(len(names)), [_short(label) for label in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(title)
        axes.grid(axis="x")
    return svg.markup


def _short(name: str) -> str:
    """Return a name of at most 24 characters. Its end is kept: it tells experiments of one recipe apart."""
    name = printable(name)
    return name if len(name) <= 24 else f"…{name[-23:]}"
