"""Values for shell completion, after `fer --install-completion`.

The functions run at every press of the tab key, so they import nothing slow.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.code import modules


def datasets(incomplete: str) -> list[str]:
    """Return the data sets whose names start with the given text."""
    return [name for name in modules("datasets") if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Return the recipes in `recipes/` whose names start with the given text."""
    return sorted(path.stem for path in Path("recipes").glob("*.yaml") if path.stem.startswith(incomplete))
