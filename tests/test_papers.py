"""docs/papers.md lists every table row and figure of the papers, and the recipes have their scores to the digit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
RECIPES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "recipes").glob("*.yaml"))}


class Paper(NamedTuple):
    """Count what a paper prints, in the paper itself.

    Attributes:
        tables: number of rows of each table. A row with scores of two networks counts twice.
        figures: number of figures.
        scores: number of scores of the authors' own networks, without confusion matrices.
    """

    tables: tuple[int, ...]
    figures: int
    scores: int


PAPERS = {
    "MixAugment": Paper((7, 10, 10, 2, 14, 4, 9), 3, 124),
    "MixCut": Paper((4, 5, 5, 3, 5, 2), 3, 20),
    "Residual convnet with image augmentations": Paper((6, 6, 4, 2, 2, 6, 9, 8, 8, 7), 8, 49),
    "GAN augmentation": Paper((7,), 1, 7),
    "Weighted-cluster loss": Paper((8, 9, 9, 6, 10, 10), 6, 120),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_row_and_figure_is_listed_and_the_recipes_have_its_scores(paper: str) -> None:
    expected = PAPERS[paper]
    recipes = {name: recipe for name, recipe in RECIPES.items() if paper in recipe.get("source", "")}
    tables: Counter[int] = Counter()
    figures, runs, cells = [], set(), 0
    scores: dict[tuple[str, str, str], Decimal] = {}
    for heading, row in listed(paper):
        name, state = next(iter(row.values())), row["state"]
        of_row = re.findall(r"`(\w+) ([\w.-]+)`", state)
        settings = re.findall(r"`([\w.]+): ([^`]+)`", state)
        assert of_row or settings or state.startswith(("no row: ", "no experiment: ")), name
        for key, value in settings:
            assert any(has(recipe, key, yaml.safe_load(value)) for recipe in recipes.values()), (
                f"{name}: {key}"
            )
        runs.update(of_row)
        if figure := re.match(r"Figure (\d+): ", name):
            figures.append(int(figure[1]))
        if table := re.match(r"Table (\d+): ", heading):
            tables[int(table[1])] += 1
        for head, cell in row.items():
            if head.startswith("`") and cell:
                value = Decimal(cell)
                of_class = re.search(r"`(\w+)`", name)
                key = head.strip("`").replace("*", of_class[1] if of_class else "*")
                cells += 1
                for run in of_row:
                    scores[*run, key] = value / 100 if value > 1 else value
                    number = table and re.search(rf"tables? .*\b{table[1]}\b", recipes[run[0]]["source"])
                    assert number or heading == "Text", f"{run[0]}: not {heading}"
    assert tables == dict(enumerate(expected.tables, 1))
    assert figures == list(range(1, expected.figures + 1))
    assert cells == expected.scores
    assert runs == {(name, row) for name, recipe in recipes.items() for row in recipe["variants"]}
    assert scores == {
        (name, row, key): Decimal(str(value))
        for name, recipe in recipes.items()
        for row, variant in recipe["variants"].items()
        for key, value in variant.get("paper", {}).items()
    }


def test_a_recipe_without_a_paper_is_listed_as_such() -> None:
    for name, recipe in RECIPES.items():
        if not any(paper in recipe.get("source", "") for paper in PAPERS):
            assert f"`{name}`" in PAGE.partition("\n## Recipes without a paper\n")[2]


def listed(paper: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of all Markdown tables in a paper's section: the heading above, and cells by column."""
    section = PAGE.partition(f"\n## {paper}\n")[2].partition("\n## ")[0]
    heading, heads = "", None
    for line in section.splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if heads is None:
            heads = cells
        elif cells[0] != "---":
            yield heading, dict(zip(heads, cells, strict=True))


def has(recipe: dict[str, Any], key: str, value: Any) -> bool:
    """Return whether a recipe or one of its rows sets a key to a value."""
    rows = [recipe, *recipe["variants"].values()]
    return any(key in row.get("params", {}) and row["params"][key] == value for row in rows)
