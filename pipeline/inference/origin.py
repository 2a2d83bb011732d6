"""Say what a model learned from."""

from __future__ import annotations

DRAWN = ["sample"]  # the data sets whose faces are drawn


def learned_from(datasets: list[str]) -> str:
    """Return the clause "learned from ..." for the data sets from which a classifier or its GAN learned."""
    if datasets == DRAWN:
        return "learned from drawn faces only and is of no use on photographs"
    return f"learned from the data set{'s' if len(datasets) > 1 else ''} {', '.join(datasets)}"
