"""The generated part of the page of recipes: a section for each file in recipes/."""

from __future__ import annotations

from typing import Any

from pipeline.core.progress import in_yaml
from scripts.documentation.methods import recipes


def sections() -> str:
    """Return the sections of all recipes."""
    return "\n\n".join(_section(name) for name in recipes())


def _section(name: str) -> str:
    recipe = recipes()[name]
    scores = list(dict.fromkeys(key for row in recipe["variants"].values() for key in row.get("paper", {})))
    lines = [
        "| " + " | ".join(["row", "changes", *scores]) + " |",
        "| --- " * (2 + len(scores)) + "|",
    ]
    for variant, row in recipe["variants"].items():
        changes = "<br>".join(f"`{key}: {in_yaml(value)}`" for key, value in row.get("params", {}).items())
        figures = [str(row.get("paper", {}).get(score, "")) for score in scores]
        lines.append("| " + " | ".join([f"`{variant}`", changes, *figures]) + " |")
    runs = recipe["runs"]
    parts = [
        f"## {name}",
        f"{recipe['title']}. {recipe['source']}; {runs} run{'s' if runs > 1 else ''} of each row.",
        " ".join(recipe.get("note", "").split()),
        _deviations(recipe),
        "\n".join(lines),
    ]
    return "\n\n".join(part for part in parts if part)


def _deviations(recipe: dict[str, Any]) -> str:
    """Return a list of what a recipe and its rows do otherwise than the paper."""
    lines = [f"- {sentence}" for sentence in recipe.get("deviations", [])]
    for name, row in recipe["variants"].items():
        lines += [f"- `{name}`: {sentence}" for sentence in row.get("deviations", [])]
    return "\n".join(["Otherwise than the paper:", "", *lines]) if lines else ""
