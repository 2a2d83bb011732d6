"""The generated parts of the methods' pages: images, docstrings, settings and recipes."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ruamel.yaml import YAML

from pipeline.core.code import PACKAGE
from pipeline.experiments.recipes import Recipe
from pipeline.methods.models import FAMILIES
from pipeline.params.methods import BLOCKS, choices
from pipeline.params.model import Labels
from scripts.documentation import images, parameters

ROOT = Path(__file__).parents[2]


FOLDERS = {switch: f"methods/{block}" for switch, block in BLOCKS.items()} | {
    "dataset": "datasets",
    "detector": "faces/detectors",
}


class Kind(NamedTuple):
    """A switch whose values have a page each.

    Attributes:
        title: of the section.
        key: of the switch in params.yaml.
    """

    title: str
    key: str


KINDS = {
    "augment": Kind("Augmentations", "augment"),
    "loss": Kind("Losses", "loss"),
    "gan": Kind("GANs", "gan"),
    "model": Kind("Networks", "model"),
    "optimizer": Kind("Optimisers", "optimizer"),
    "detector": Kind("Detectors", "align.detector"),
    "rule": Kind("Label rules", "labels.rule"),
    "dataset": Kind("Data sets", "datasets"),
}


def names(kind: str) -> tuple[str, ...]:
    """Return the values of a switch; what chooses nothing comes first."""
    if kind == "rule":
        return get_args(Labels.model_fields["rule"].annotation)
    return tuple(sorted(choices(kind), key=lambda name: (name != "none", name)))


def uri(kind: str, name: str) -> str:
    """Return the place of a method's page in docs/."""
    return f"methods/{kind}/{name}.md"


def pages() -> dict[str, tuple[str, str]]:
    """Return kind and name of every method by the place of its page."""
    return {uri(kind, name): (kind, name) for kind in KINDS for name in names(kind)}


def option(kind: str, name: str) -> str:
    """Return how a method is chosen for one experiment."""
    if kind == "dataset":
        # A GAN may be asked for classes that a data set lacks, and a first look needs none.
        return f"-S 'datasets=[{name}]' -S gan=none"
    return f"-S {KINDS[kind].key}={name}"


def parts(kind: str, name: str) -> dict[str, str]:
    """Return the generated parts of a method's page."""
    return {"head": _head(kind, name), "reference": "\n\n".join([*_settings(kind, name), *_used(kind, name)])}


def overview(kind: str) -> str:
    """Return the table of a kind's methods."""
    lines = [f"| `{KINDS[kind].key}` | what it is |", "| --- | --- |"]
    for name in names(kind):
        first = " ".join(_docstrings(kind, name)[0].split("\n\n")[0].split())
        lines.append(f"| [`{name}`]({name}.md) | {first.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _head(kind: str, name: str) -> str:
    value = f"[{name}]" if kind == "dataset" else name
    choose = f"Choose it with `{KINDS[kind].key}: {value}` in `params.yaml`"
    choose += f", or `{option(kind, name)}` for one experiment."
    if source := _source(kind, name):
        path = source.relative_to(ROOT)
        choose += f" Its code is [`{path}`](../../../{path})."
    return "\n\n".join(filter(None, [images.shown(kind, name), choose, *_docstrings(kind, name)]))


def _settings(kind: str, name: str) -> list[str]:
    block = f"{BLOCKS[kind]}.{name}" if kind in BLOCKS else ""
    rows = parameters.table(block) if block else []
    intro = f"These keys are in the block `{block}` of [`params.yaml`](../../../params.yaml):"
    return ["## Settings", intro, parameters.markdown(rows)] if rows else []


def _used(kind: str, name: str) -> list[str]:
    used = [f"[{recipe}](../../reference/recipes.md#{recipe})" for recipe in _recipes(kind, name)]
    return ["## Recipes", f"These recipes choose it: {', '.join(used)}."] if used else []


def _source(kind: str, name: str) -> Path | None:
    if kind == "rule":
        return None
    if kind == "model":
        name = FAMILIES[name]
    return PACKAGE / FOLDERS[kind] / f"{name}.py"


def _docstrings(kind: str, name: str) -> list[str]:
    """Return what the code says of a method: of a network its function first, then its family's module."""
    if kind == "rule":
        return _rule(name)
    source = _source(kind, name)
    assert source is not None
    tree = _tree(source)
    said = [ast.get_docstring(tree) or ""]
    if kind == "model":
        function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
        text = (ast.get_docstring(function) or "").removeprefix("Return ")
        said.insert(0, text[:1].upper() + text[1:])
    return said


def _rule(name: str) -> list[str]:
    """Return the lines on a rule in the comment on `labels.rule`."""
    row = next(row for row in parameters.table("labels") if row.key == "labels.rule")
    lines = [line for line in row.comment.split("<br>") if line.startswith(f"`{name}`: ")]
    said = " ".join(lines[0].removeprefix(f"`{name}`: ").split()) if lines else ""
    return [f"{said[:1].upper()}{said[1:]}."]


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


@cache
def recipes() -> dict[str, dict[str, Any]]:
    """Return every recipe with all its keys, and the rows of its grid among the variants."""
    yaml, paths = YAML(typ="safe"), sorted((ROOT / "recipes").glob("*.yaml"))
    read = {path.stem: Recipe.model_validate(yaml.load(path)) for path in paths}
    return {
        name: recipe.model_copy(update={"variants": recipe.rows()}).model_dump()
        for name, recipe in read.items()
    }


def _recipes(kind: str, name: str) -> list[str]:
    def chooses(settings: dict[str, Any]) -> bool:
        found = settings.get(KINDS[kind].key)
        return found == name or (isinstance(found, list) and kind == "dataset" and name in found)

    return [
        recipe
        for recipe, text in recipes().items()
        if chooses(text["params"]) or any(chooses(row.get("params", {})) for row in text["variants"].values())
    ]
