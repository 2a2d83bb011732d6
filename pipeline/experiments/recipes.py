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
grid:                             # rows beside these, or in their place: one for each combination of values
  augments.mixcut.alpha: [0.5, 1.0]   # rows alpha-0.5_loss-softmax, alpha-0.5_loss-center, ...
  loss: [softmax, center]
"""

from __future__ import annotations

import io
import math
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import params
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import replacing
from pipeline.params.load import PARAMS_FILE
from pipeline.params.types import Block, Positive

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
    variants: dict[str, Variant] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[str | int | float | bool | None], Field(min_length=1)]] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _has_rows(self) -> Recipe:
        if not self.variants and not self.grid:
            raise ValueError("found neither variants nor a grid, allowed: one of them or both")
        if both := self.grid.keys() & (self.short.keys() | {"seed"}):
            raise ValueError(f"grid: found {', '.join(sorted(both))}, which the short form or a run sets")
        rows = len(self.variants) + math.prod(len(values) for values in self.grid.values()) * bool(self.grid)
        if len({name.replace("_", "-") for name in self.rows()}) < rows:
            raise ValueError("found rows whose experiments would have the same name")
        return self

    def rows(self) -> dict[str, Variant]:
        """Return the variants, then a row for each combination of the grid's values, named after these."""
        if not self.grid:
            return self.variants
        last = [key.rpartition(".")[2] for key in self.grid]
        short = last if len(set(last)) == len(last) else list(self.grid)
        rows = {}
        for values in product(*self.grid.values()):
            name = "_".join(f"{key}-{_word(value)}" for key, value in zip(short, values, strict=True))
            rows[name] = Variant(params=dict(zip(self.grid, values, strict=True)))
        return self.variants | rows

    def settings(self, variant: str, short: bool) -> Settings:
        """Return the parameters of a variant by dotted key; the short form's come last.

        Raises:
            UserError: there is no such variant.
        """
        rows = self.rows()
        if variant not in rows:
            raise UserError.of("variant", repr(variant), rows)
        return self.params | rows[variant].params | (self.short if short else {})


def _word(value: object) -> str:
    """Return a value as part of a row's name, which becomes part of an experiment's."""
    return "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in str(value).lower())


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
        raise UserError.of("recipe", repr(name), names() or "none: no folder recipes/")
    try:
        return Recipe.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join([str(path), ".".join(map(str, first["loc"]))]).removesuffix(": ")
        raise UserError(f"{place}: {one_line(first['msg']).removeprefix('Value error, ')}") from None
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
