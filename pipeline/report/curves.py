"""Curves of training over the epochs, of all runs in one chart for each metric.

The lines are drawn here, so that they are seen without the script and in print. Each carries its values, which the
script shows at the pointer. Legends switch runs and splits on and off.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from pipeline.report.charts import svg_figure
from pipeline.report.run import TRAIN, Curve, FinishedRun
from pipeline.report.score_tables import HEADLINE

COLOURS = 8  # that the page's style has for lines
HEIGHT = 3.0  # inches


class CurveChart(NamedTuple):
    """A chart of one metric.

    Attributes:
        metric: its name.
        markup: the SVG.
        lines: JSON list of the lines: index of the run, split, colour, epochs, values and places in the SVG's units.
    """

    metric: str
    markup: Markup
    lines: str


class Curves(NamedTuple):
    """The charts, and the entries of their legend: names with the number of their colour.

    `runs` is empty for one run, whose splits have the colours. `splits` is empty if there is only one split.
    """

    charts: list[CurveChart]
    runs: list[tuple[str, int]]
    splits: list[tuple[str, int | None]]
    best: list[tuple[str, int]]


def curves(runs: list[FinishedRun]) -> Curves:
    """Return the curves of runs."""
    found = [(index, curve) for index, run in enumerate(runs) for curve in run.curves()]
    splits = list(dict.fromkeys(curve.split for _, curve in found))
    several = len(runs) > 1
    charts = [
        _chart(
            f"curve-{place}",
            HEADLINE.get(metric, metric.replace("_", " ")),
            runs,
            [
                (index, curve, (index if several else splits.index(curve.split)) % COLOURS)
                for index, curve in found
                if curve.metric == metric
            ],
        )
        for place, metric in enumerate(dict.fromkeys(curve.metric for _, curve in found))
    ]
    return Curves(
        charts,
        [(run.name, index % COLOURS) for index, run in enumerate(runs)] if several else [],
        [(split, None if several else place % COLOURS) for place, split in enumerate(splits)]
        if len(splits) > 1
        else [],
        [(run.name, best) for run in runs if isinstance(best := run.value(TRAIN, "best_epoch"), int)],
    )


def _chart(
    name: str, metric: str, runs: list[FinishedRun], curves: list[tuple[int, Curve, int]]
) -> CurveChart:
    """Return the chart of a metric.

    Args:
        name: prefix of the ids of the chart's elements.
        metric: its name.
        runs: all runs.
        curves: index of the run, curve and number of its colour.
    """
    count = max(len(curve.values) for _, curve, _ in curves)
    lines = []
    description = f"{metric} over {count} epochs; the arrow keys show the values of each epoch"
    with svg_figure(name, description, HEIGHT) as svg:
        axes = svg.figure.add_subplot()
        for _, curve, _ in curves:
            axes.plot(np.array(curve.epochs) + 1, curve.values)
        axes.set(xlabel="epoch", ylabel=metric, xlim=axes.get_xlim(), ylim=axes.get_ylim())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        svg.figure.draw_without_rendering()
        height = svg.figure.bbox.height
        for index, curve, colour in curves:
            epochs = np.array(curve.epochs) + 1
            places = axes.transData.transform(np.stack([epochs, curve.values], axis=1))
            places = np.stack([places[:, 0], height - places[:, 1]], axis=1).round(1)
            lines.append(
                {"run": index, "split": curve.split, "colour": colour, "epochs": epochs.tolist()}
                | {"values": curve.values, "places": places.tolist()}
                | {"dashed": len(runs) > 1 and curve.split == "train"}
            )
        top, bottom = height - axes.bbox.y1, height - axes.bbox.y0
        kept = [
            (index, colour, axes.transData.transform((epoch, 0))[0], top, bottom)
            for index, colour in {index: colour for index, _, colour in curves}.items()
            if isinstance(epoch := runs[index].value(TRAIN, "best_epoch"), int)
        ]
        for line in list(axes.lines):
            line.remove()
    drawn = Markup().join([*map(_best, kept), *map(_line, lines)])
    return CurveChart(
        metric, svg.markup.replace(Markup("</svg>"), drawn + Markup("</svg>")), json.dumps(lines)
    )


def _line(line: dict[str, Any]) -> Markup:
    """Return the markup of a line; a line of one or two values has points."""
    places = line["places"]
    points = Markup().join(Markup('<circle r="3" cx="{}" cy="{}"/>').format(*place) for place in places)
    return Markup(
        '<g class="line c{colour}{dash}" data-run="{run}" data-split="{split}">'
        '<polyline points="{path}"/>{points}</g>'
    ).format(
        **{key: line[key] for key in ("colour", "run", "split")},
        dash=" dashed" if line["dashed"] else "",
        path=" ".join(f"{x},{y}" for x, y in places),
        points=points if len(places) < 3 else "",
    )


def _best(best: tuple[int, int, float, float, float]) -> Markup:
    """Return the markup of a vertical line: index of the run, colour, place from the left, top and bottom."""
    return Markup(
        '<line class="best c{1}" data-run="{0}" x1="{2:.1f}" x2="{2:.1f}" y1="{3:.1f}" y2="{4:.1f}"/>'
    ).format(*best)
