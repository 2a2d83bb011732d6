"""The generated part of the page of recipes: a section for each file in recipes/."""

from __future__ import annotations

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
        changes = "<br>".join(f"`{key}: {value}`" for key, value in row.get("params", {}).items())
        figures = [str(row.get("paper", {}).get(score, "")) for score in scores]
        lines.append("| " + " | ".join([f"`{variant}`", changes, *figures]) + " |")
    return "\n\n".join(
        [
            f"## {name}",
            f"{recipe['title']}. {recipe['source']}; {recipe['runs']} runs of each row.",
            " ".join(recipe.get("note", "").split()),
            "\n".join(lines),
        ]
    )
