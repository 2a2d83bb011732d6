"""Write the suspects: a table of them, and a sheet of the most suspect faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.files import replacing
from pipeline.figures.sheet import Grid, captioned_sheet
from pipeline.inference.samples import Samples
from pipeline.suspects.ranking import Ranking
from pipeline.tables.csv_cells import Number, row_writer

COLUMNS = ("rank", "id", "split", "label", "suggested", "label_probability", "suggested_probability")
SHOWN = 96  # faces on the sheet
ACROSS, CELLS = 12, Grid(side=1.1, width=1.2, height=1.55, caption_gap=0.06, fontsize=7)  # of the sheet


def write(
    table: Path, samples: Samples, split: str, probabilities: np.ndarray, classes: list[str], ranking: Ranking
) -> None:
    """Write the suspects as a CSV file and, beside it, the first of them as a PNG of the same name.

    Args:
        table: the CSV file.
        samples: N faces.
        split: of these faces.
        probabilities: [N, K].
        classes: K names in the order of the labels.
        ranking: of the suspects.

    Raises:
        UserError: a file cannot be written.
    """
    labels = samples.labels.numpy()
    ids = samples.ids.take(ranking.rows).to_pylist()
    rows = [
        (i, id_, split, classes[label], classes[other], *probabilities[face, [label, other]])
        for i, (id_, face, label, other) in enumerate(
            zip(ids, ranking.rows, labels[ranking.rows], ranking.suggested, strict=True), 1
        )
    ]
    captions = [
        f"{i}. {label} {own:.4f}\n→ {other} {best:.2f}" for i, _, _, label, other, own, best in rows[:SHOWN]
    ]
    with replacing(table) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            write_row = row_writer(file)
            write_row(COLUMNS)
            for *cells, own, best in rows:
                write_row([*cells, Number(f"{own:.6g}"), Number(f"{best:.6g}")])
        title = "most suspect labels" if rows else "no suspect labels"
        faces = samples.gather(ranking.rows[:SHOWN])
        captioned_sheet(table.with_suffix(".png"), title, faces, captions, ACROSS, CELLS)
