"""Write a comparison for people and programs: Markdown, CSV, LaTeX or a chart."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import replacing
from pipeline.core.progress import wrapped
from pipeline.experiments import chart, latex, layout
from pipeline.experiments.comparison import Comparison
from pipeline.tables.csv_cells import row_writer

SUFFIXES = (".md", ".csv", ".tex", ".png")


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Reject a file name that does not end in one of `suffixes`.

    Raises:
        UserError: the name ends in something else.
    """
    if path.suffix not in suffixes:
        raise UserError.of("--output", path, f"a file that ends in {', '.join(suffixes)}")


def write(path: Path, title: str, comparison: Comparison) -> None:
    """Write a comparison in the format that the file's suffix names.

    Raises:
        UserError: the suffix names no format, or the file cannot be written.
    """
    check_suffix(path)
    match path.suffix:
        case ".png":
            chart.draw(path, title, comparison)
            return
        case ".csv":
            text = csv_text(comparison)
        case ".tex":
            text = latex.document(title, comparison)
        case _:
            text = markdown(title, comparison)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def markdown(title: str, comparison: Comparison) -> str:
    """Return the scores side by side, the differences from the baseline, and the text that explains both."""
    tables = [*layout.score_tables(comparison), *layout.difference_tables(comparison)]
    parts = [table.markdown() for table in tables]
    text = wrapped(layout.explanation(comparison), indent="")
    notes = bullets(layout.notes(comparison))
    return "\n\n".join([wrapped(title, indent=""), *parts, text, notes]) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(wrapped(line, first="- ") for line in lines)


def csv_text(comparison: Comparison) -> str:
    """Return one line for each score and row, in full precision. Unknown values are empty."""
    text = io.StringIO()
    write = row_writer(text)
    write(
        ["score", "row", "seeds", "mean", "std", "paper", "paper_score", "baseline", "pairs", "difference"]
        + ["low", "high", "mcnemar_p", "bootstrap_p", "images", "state", "notes"]
    )
    for key, rows in comparison.scores.items():
        paper_key = comparison.paper_keys.get(key)
        for row in rows:
            figures = [len(row.values), row.mean(), row.spread(), row.paper, paper_key, comparison.baseline]
            difference = row.difference or [None] * 4
            tests = [row.mcnemar_p, row.bootstrap_p, comparison.images]
            notes = "; ".join([*comparison.recipe.remarks([row.name]), *comparison.notes])
            write([key, row.name, *figures, *difference, *tests, comparison.states[row.name], notes])
    return text.getvalue()
