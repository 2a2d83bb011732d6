"""The generated parts of the page of papers: what the recipes of each paper do otherwise than the paper."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from scripts.documentation.methods import recipes

# The heading of a paper's section, which the `source` of its recipes repeats, by the name of the generated part.
PAPERS = {
    "mixaugment": "MixAugment",
    "mixcut": "MixCut",
    "residual": "Residual convnet with image augmentations",
    "gan": "GAN augmentation",
    "cluster": "Weighted-cluster loss",
}


def recipes_of(paper: str) -> dict[str, dict[str, Any]]:
    """Return the recipes whose `source` is a paper, by name."""
    return {name: recipe for name, recipe in recipes().items() if paper in recipe.get("source", "")}


def parts() -> dict[str, str]:
    """Return the deviations of each paper's recipes, by the name of the generated part."""
    return {part: _deviations(paper) for part, paper in PAPERS.items()}


def _deviations(paper: str) -> str:
    """Return a line for each sentence, with the recipes and the rows that have it."""
    having: dict[str, list[str]] = defaultdict(list)
    for name, recipe in recipes_of(paper).items():
        for sentence in recipe.get("deviations", []):
            having[sentence].append(f"`{name}`")
        for row, variant in recipe["variants"].items():
            for sentence in variant.get("deviations", []):
                having[sentence].append(f"`{name} {row}`")
    return "\n".join(f"- {sentence} ({', '.join(places)})" for sentence, places in having.items())
