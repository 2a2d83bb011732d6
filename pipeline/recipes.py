"""Recipes: a table of a paper as the parameters of its rows, and the paper's figures beside them.

title: MixCut on FER+
source: where the table stands
note: what the paper leaves open, and what is done about it
runs: 5                           # with seeds 1, 2, ...
params:                           # of all variants, by dotted key of params.yaml
  datasets: [ferplus]
  train.epochs: 250
short:                            # on top of these, for a machine without a GPU
  train.epochs: 6
variants:
  mixcut:
    params: {augment: mixcut}
    paper: {test.accuracy: 0.8563}    # by dotted key of metrics/evaluate.json, fractions of 1
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import params
from pipeline.errors import UserError, one_line
from pipeline.files import replacing
from pipeline.params import PARAMS_FILE, Block, Positive

RECIPES = Path("recipes")

Settings = dict[str, Any]


class Variant(Block):
    """A row of a table."""

    params: Settings = Field(default_factory=dict)
    paper: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(default_factory=dict)


class Recipe(Block):
    """A table."""

    title: str
    source: str
    note: str = ""
    runs: Positive
    params: Settings
    short: Settings
    variants: Annotated[dict[str, Variant], Field(min_length=1)]

    def settings(self, variant: str, short: bool) -> Settings:
        """Return the parameters of a variant by dotted key; the short form's come last.

        Raises:
            UserError: there is no such variant.
        """
        if variant not in self.variants:
            raise UserError(f"variant: found {variant!r}, allowed: {', '.join(self.variants)}")
        return self.params | self.variants[variant].params | (self.short if short else {})


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        UserError: there is none of that name, or it is not as it should be.
    """
    path = RECIPES / f"{name}.yaml"
    if name not in names():
        raise UserError(
            f"recipe: found {name!r}, allowed: {', '.join(names()) or 'none: no folder recipes/'}"
        )
    try:
        return Recipe.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {one_line(first['msg'])}") from None
    except (YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def applied(settings: Settings, path: Path = PARAMS_FILE) -> str:
    """Return the text of `params.yaml` with other values and the same comments.

    Raises:
        UserError: a key that the file does not have, or a value that is not allowed.
    """
    params.load(path)  # a fault of the file itself is told in its own words
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 2**16
    # A null stays the word that it is; left to itself ruamel writes nothing.
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    document = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        *blocks, last = key.split(".")
        block = document
        for name in blocks:
            block = block.get(name) if isinstance(block, dict) else None
        if not isinstance(block, dict) or last not in block:
            raise UserError(f"{path}: {key}: found no such key, which a recipe sets")
        if isinstance(value, list) and isinstance(block[last], list):
            block[last][:] = value  # the list itself holds its style and its comment
        else:
            block[last] = value
    params.validated(document, path)
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def apply(settings: Settings, path: Path = PARAMS_FILE) -> None:
    """Write other values into `params.yaml`; nothing changes if one of them is not allowed.

    Raises:
        UserError: as `applied`.
    """
    text = applied(settings, path)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
