"""Recipes. A recipe describes one table of a paper: the parameters and the paper's scores of each row.

A row sets every setting except those of the machine. The recipe gives some of the values; the others are the shipped
ones.

title: MixCut on FER+
source: the paper and the number of its table
note: what the paper leaves open, and our choice
deviations: [what differs from the paper in all rows, one sentence each]
runs: 5                           # with the seeds 1, 2, ...
folds: 5                          # in place of `runs`, for cross-validation: run k has the seed k, and part k is test
params:                           # shared by all rows, by dotted key of params.yaml
  datasets: [ferplus]
  train.epochs: 250
short:                            # for a machine without a GPU: `--short` sets these after those of all other blocks
  train.epochs: 6
variants:
  mixcut:
    params: {augment: mixcut}
    paper: {test.accuracy: 0.8563}    # by dotted key of metrics/evaluate.json, fractions of 1
    deviations: [what differs from the paper in this row]
grid:                             # rows beside or instead of variants: one for each combination of values
  augments.mixcut.alpha: [0.5, 1.0]   # rows alpha-0.5_loss-softmax, alpha-0.5_loss-center, ...
  loss: [softmax, center]

Only the title and one row, in `variants` or in `grid`, are required.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from pipeline import params
from pipeline.core import yaml
from pipeline.core.errors import UserError
from pipeline.core.files import rewriting
from pipeline.params.change import rewritten
from pipeline.params.load import PARAMS_FILE
from pipeline.params.refusal import Conflict, wordings
from pipeline.params.settings import MACHINE, SHIPPED, flat, in_use
from pipeline.params.types import Block, Line, Lines, Positive

RECIPES = Path("recipes")
MOST_ROWS = 1_000  # of a grid
NO_RECIPE = f"{RECIPES}/: found no recipe here; run this in the project's folder"

Overrides = dict[str, Any]  # values of params.yaml by dotted key


def _row_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name) or ".." in name:
        raise ValueError("letters, digits, `_`, `-` and `.`, but not `..`")
    return name


RowName = Annotated[str, AfterValidator(_row_name)]  # a part of the name of an experiment
GridValues = Annotated[list[str | int | float | bool | None], Field(min_length=1)]


class Variant(Block):
    """A row of a table."""

    params: Overrides = Field(default_factory=dict)
    paper: dict[Line, Annotated[float, Field(ge=-1, le=1)]] = Field(default_factory=dict)
    deviations: list[Lines] = Field(default_factory=list)


class Recipe(Block):
    """A table of a paper.

    Attributes:
        title: what the table compares.
        source: the paper and the number of its table; empty for a table of your own.
        note: what the paper leaves open, and the choice made here.
        deviations: a sentence for each way in which all rows differ from the paper.
        runs: number of runs of each row, with the seeds 1, 2, ...
        folds: number of parts for cross-validation, which is then the number of runs; 0: none.
        params: parameters that all rows share.
        short: parameters of the short form; empty if there is none.
        variants: rows by name.
        grid: values by key; each combination of them is a row.
    """

    title: Line
    source: Line = ""
    note: Lines = ""
    deviations: list[Lines] = Field(default_factory=list)
    runs: Positive = 1
    folds: Annotated[int, Field(ge=0)] = 0
    params: Overrides = Field(default_factory=dict)
    short: Overrides = Field(default_factory=dict)
    variants: dict[RowName, Variant] = Field(default_factory=dict)
    grid: dict[str, GridValues] = Field(default_factory=dict, validate_default=True)

    @field_validator("grid")
    @classmethod
    def _check_rows(cls, grid: dict[str, list[Any]], info: ValidationInfo) -> dict[str, list[Any]]:
        # `info.data` holds only the fields that are declared above this one and are valid.
        variants, short = info.data.get("variants"), info.data.get("short", {})
        if not grid and variants == {}:
            raise Conflict("variants", {}, "at least one row, here or in `grid`")
        if (rows := prod(map(len, grid.values()))) > MOST_ROWS:
            raise Conflict("grid", rows, f"at most {MOST_ROWS:,} combinations of values")
        if both := sorted(grid.keys() & (short.keys() | {"seed"})):
            raise Conflict("grid", ", ".join(both), "keys that are neither `seed` nor under `short`")
        names = Counter(name.replace("_", "-") for name in [*(variants or {}), *_row_names(grid)])
        # The short form puts `short-` before a row's name in the names of its experiments.
        in_short = {f"short-{name}" for name in names if short}
        if equal := [name for name, count in names.items() if count > 1 or name in in_short]:
            differ = "different names of rows, where `_` counts as `-`"
            differ += "; with a short form, no name may be `short-` followed by another name" if short else ""
            raise Conflict("grid", ", ".join(equal), differ)
        return grid

    @model_validator(mode="before")
    @classmethod
    def _runs_are_folds(cls, content: dict[str, Any]) -> dict[str, Any]:
        folds = content.get("folds")
        if type(folds) is not int or folds == 0:
            return content
        if "runs" in content:
            raise Conflict("runs", content["runs"], "no such key beside `folds`, which is the number of runs")
        return content | {"runs": folds}

    @model_validator(mode="after")
    def _folds(self) -> Self:
        if self.folds == 1:
            raise Conflict("folds", 1, "at least 2 parts, or 0")
        rows = [row.params for row in self.variants.values()]
        if self.folds and any("labels.fold" in keys for keys in (self.params, self.short, self.grid, *rows)):
            raise Conflict("folds", self.folds, "0 while the recipe sets labels.fold")
        return self

    def of_run(self, seed: int) -> Overrides:
        """Return the parameters in which the runs of a row differ: the seed and, with `folds`, the tested part."""
        return {"seed": seed} | ({"labels.fold": [seed, self.folds]} if self.folds else {})

    @property
    def heading(self) -> str:
        """The title, with the source in brackets if there is one."""
        return f"{self.title} ({self.source})" if self.source else self.title

    def remarks(self, rows: Iterable[str]) -> list[str]:
        """Return the note and the deviations of the recipe and of some rows, with a word that says what each is."""
        own = {row: self.rows()[row].deviations for row in rows}
        folds = (
            f"cross-validation: the images are in {self.folds} parts, by person. The run with seed k trains on the "
            "others and scores part k as test."
        )
        return [
            *([folds] if self.folds else []),
            *([f"note: {self.note}"] if self.note else []),
            *(f"deviation: {sentence}" for sentence in self.deviations),
            *(f"deviation of {row}: {sentence}" for row, sentences in own.items() for sentence in sentences),
        ]

    def rows(self) -> dict[str, Variant]:
        """Return the variants, then one row for each combination of the grid's values, named after the values."""
        combinations = product(*self.grid.values()) if self.grid else []
        rows = [Variant(params=dict(zip(self.grid, values, strict=True))) for values in combinations]
        return self.variants | dict(zip(_row_names(self.grid), rows, strict=True))

    def overrides(self, row: str, short: bool) -> Overrides:
        """Return the parameters of a row by dotted key. With `short`, those of the short form replace the row's.

        Raises:
            UserError: there is no such row.
        """
        rows = self.rows()
        if row not in rows:
            raise UserError.of("variant", repr(row), rows)
        return self.params | rows[row].params | (self.short if short else {})


def _row_names(grid: dict[str, list[Any]]) -> list[str]:
    """Return the name of each combination of a grid's values."""
    if not grid:
        return []
    last_parts = [key.rpartition(".")[2] for key in grid]
    labels = last_parts if len(set(last_parts)) == len(last_parts) else list(grid)
    return [
        "_".join(f"{key}-{_word(value)}" for key, value in zip(labels, values, strict=True))
        for values in product(*grid.values())
    ]


def _word(value: object) -> str:
    """Return a value with only the characters that an experiment's name may contain."""
    word = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in str(value).lower())
    return word.replace("..", "--")


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(name: str, short: bool = False) -> Recipe:
    """Read a recipe.

    Args:
        name: the name of its file, without the ending.
        short: whether the short form is wanted.

    Raises:
        UserError: no recipe has that name, its file is not valid (a line for each fault), or it has no short form.
    """
    path = RECIPES / f"{name}.yaml"
    if name not in (known := names()):
        raise UserError.of("recipe", repr(name), known) if known else UserError(NO_RECIPE)
    content = yaml.read(path)
    if not isinstance(content, dict):
        raise UserError.of(path, type(content).__name__, "keys and values")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(*(f"{path}: {line}" for line in wordings(error, Recipe))) from None
    if short and not recipe.short:
        raise UserError(f"{path}: no short form, as there is no block `short`; leave out `--short`")
    return recipe


@cache
def shipped() -> Overrides:
    """Return the values of params.yaml as shipped. They are shared: copy before you change a list or a mapping."""
    return flat(yaml.read(SHIPPED))


def settings(overrides: Overrides) -> Overrides:
    """Return a row's values for all settings, with the shipped values of those that the row does not set.

    Settings of the machine change a result by rounding at most. They are left out, unless the row sets them.
    """
    return {key: value for key, value in shipped().items() if key not in MACHINE} | overrides


def equal_rows(rows: dict[str, Overrides]) -> list[str]:
    """Return a sentence for each group of rows that are the same experiment.

    Args:
        rows: all settings of each row, see `settings`.
    """
    groups: dict[str, list[str]] = {}
    for row, values in rows.items():
        groups.setdefault(json.dumps(in_use(values), sort_keys=True), []).append(row)
    return [
        f"{', '.join(names)}: the same experiment under {len(names)} names, because their settings are equal"
        for names in groups.values()
        if len(names) > 1
    ]


def check(rows: Iterable[Overrides], path: Path = PARAMS_FILE) -> None:
    """Reject rows that cannot be applied to `params.yaml`. Nothing is written.

    Raises:
        UserError: as `apply`, with a line for each different fault of the rows.
    """
    document = read(path)
    faults: list[str] = []
    for overrides in rows:
        try:
            override(document, overrides, path)
        except UserError as error:
            faults += str(error).splitlines()
    if faults:
        raise UserError(*dict.fromkeys(faults))


def apply(overrides: Overrides, path: Path = PARAMS_FILE) -> None:
    """Write all settings of a row into `params.yaml` and keep its comments.

    If `params.yaml` is a symbolic link, it stays one. The file's mode stays too.

    Settings of the machine keep their values, unless the row sets them. Nothing changes if a value is not allowed.

    Raises:
        UserError: a value is not allowed. Or the row has a key that is neither in `params.yaml` nor in the shipped
            file. Or `params.yaml` has a setting in use for which neither the row nor the shipped file has a value.
    """
    with rewriting(path) as temporary:
        temporary.write_text(applied(overrides, path), encoding="utf-8", newline="")


def applied(overrides: Overrides, path: Path = PARAMS_FILE) -> str:
    """Return the text that `apply` would write.

    Raises:
        UserError: as `apply`.
    """
    document = read(path)
    override(document, overrides, path)
    return rewritten(path, document)


def read(path: Path) -> dict[str, Any]:
    """Return a parsed `params.yaml`.

    Raises:
        UserError: the file is not valid.
    """
    params.load(path)
    return yaml.read(path)


def override(document: dict[str, Any], overrides: Overrides, path: Path) -> None:
    """Set all settings of a row in a parsed `params.yaml` and validate the result.

    Raises:
        UserError: as `apply`.
    """
    present, wanted = flat(document), settings(overrides)
    if unknown := overrides.keys() - present.keys() - shipped().keys():
        raise UserError(*(f"{path}: {key}: no such key, but the recipe sets it" for key in sorted(unknown)))
    for key, value in wanted.items():
        if key not in present or present[key] != value:
            _set(document, key, deepcopy(value))
    params.validated(document, path)
    for key in in_use(present | wanted):
        if key not in wanted and key not in MACHINE:
            raise UserError(
                f"{path}: {key}: the shipped file has no value for it; give one in the recipe's params"
            )


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *blocks, last = key.split(".")
    for name in blocks:
        document = document.setdefault(name, {})
    document[last] = value
