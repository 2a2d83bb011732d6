"""What a shell offers for a value that is being typed, after `fer --install-completion`.

It answers at every press of a key, so nothing is imported that takes time.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.code import modules


def datasets(incomplete: str) -> list[str]:
    """Return the data sets whose names begin so."""
    return [name for name in modules("datasets") if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Return the recipes whose names begin so: the files in `recipes/`."""
    return sorted(path.stem for path in Path("recipes").glob("*.yaml") if path.stem.startswith(incomplete))
