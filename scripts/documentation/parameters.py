"""Tables of parameters: names, defaults and comments from params.yaml, types and ranges from `pipeline.params`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import griffe
from ruamel.yaml import YAML

from pipeline import params
from pipeline.params.methods import BLOCKS, choices
from pipeline.params.types import Block
from pipeline.tables.schema import CLASSES

ROOT = Path(__file__).parents[2]
# Values that a validator and not a type restricts.
CHOICES = {
    "datasets": ("list of", choices("dataset")),
    "classes": ("list of", CLASSES),
    "gans.classes": ("list of", CLASSES),
    "align.detector": ("one of", choices("detector")),
} | {switch: ("one of", choices(switch)) for switch in BLOCKS}
# Whose values have pages of their own, in docs/methods/<kind>/.
KINDS = {switch: switch for switch in BLOCKS} | {
    "datasets": "dataset",
    "align.detector": "detector",
    "labels.rule": "rule",
}
_ENTRY = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<rest>.*)")
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")


class Parameter(NamedTuple):
    """A line of params.yaml.

    Attributes:
        key: by dots.
        allowed: type and range in words.
        default: the value in params.yaml, as it is written there.
        comment: what params.yaml says of it and, where it has one, the docstring of its class; Markdown.
    """

    key: str
    allowed: str
    default: str
    comment: str


@cache
def _text() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


@cache
def _values() -> dict[str, Any]:
    return YAML(typ="safe").load(_text())


@cache
def comments() -> dict[str, list[str]]:
    """Return the lines of comment on each key of params.yaml: those right above it, then the one beside it."""
    found: dict[str, list[str]] = {}
    above: list[str] = []
    blocks: list[str] = []
    for line in _text().splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            above = [*above, line.strip()[2:]] if line.lstrip().startswith("# ") else []
            continue
        blocks[len(entry["indent"]) // 2 :] = [entry["key"]]
        beside = _COMMENT.search(entry["rest"])
        found[".".join(blocks)] = above + ([beside[1]] if beside else [])
        above = []
    return found


def block(path: str) -> type[Block]:
    """Return the class of a block, `augments.mixcut`; "" is the whole file."""
    model: Any = params.Params
    for part in filter(None, path.split(".")):
        model = model.model_fields[part].annotation
        model = next(a for a in (model, *get_args(model)) if isinstance(a, type) and issubclass(a, Block))
    return model


def table(path: str) -> list[Parameter]:
    """Return the parameters of a block that are no blocks themselves, in the order of params.yaml."""
    model, values = block(path), _at(path)
    schema = model.model_json_schema()
    described = _attributes(model)
    rows = []
    for name, value in values.items():
        if _is_block(model, name):
            continue
        key = f"{path}.{name}".lstrip(".")
        lines = comments().get(key, [])
        said = prose(lines, _values_of(key, schema, name)) or described.get(name, "")
        rows.append(Parameter(key, _allowed(key, schema, name), _written(value), said))
    return rows


def prose(lines: list[str], values: tuple[str, ...] = ()) -> str:
    """Return lines of comment as Markdown, one line for each of the `values` that they explain.

    A line that only names the values says nothing that the table does not say in its own column.
    """
    text, in_list = "", False
    lines = [
        line for line in lines if not set(line.replace(",", " ").split()) <= set(values) or " " not in line
    ]
    begins = [line.partition(" ")[0] for line in lines]
    explained = set(begins) & set(values) if len(set(begins) & set(values)) > 1 else set()
    for begin, line in zip(begins, lines, strict=True):
        if begin in explained:
            rest = line.removeprefix(begin).strip()
            text += f"<br>`{begin}`: {rest}" if rest else f"<br>`{begin}`"
            in_list = True
        elif in_list and not line.startswith("  "):
            text, in_list = f"{text}<br>{line.strip()}", False
        else:
            text += f" {line.strip()}"
    return text.strip().removeprefix("<br>")


def markdown(rows: list[Parameter], full: bool = False) -> str:
    """Return a table; keys without their block unless `full`."""
    if not rows:
        return "Nothing can be set.\n"
    lines = ["| key | default | allowed | what it does |", "| --- | --- | --- | --- |"]
    for row in rows:
        key = row.key if full else row.key.rpartition(".")[2]
        cells = (f"`{key}`", f"`{row.default}`", row.allowed, row.comment)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def is_block(name: str) -> bool:
    """Return whether a key at the top of params.yaml holds a block."""
    return _is_block(params.Params, name)


def _is_block(model: type[Block], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return any(isinstance(a, type) and issubclass(a, Block) for a in (annotation, *get_args(annotation)))


def _attributes(model: type[Block]) -> dict[str, str]:
    sections = griffe.Docstring(model.__doc__ or "").parse("google", warnings=False)
    for base in model.__mro__[1:-1]:
        sections += griffe.Docstring(base.__doc__ or "").parse("google", warnings=False)
    return {
        item.name: " ".join(item.description.split())
        for section in sections
        if section.kind is griffe.DocstringSectionKind.attributes
        for item in section.value
    }


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {of}" for key, of in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _allowed(key: str, schema: dict[str, Any], name: str) -> str:
    kind = CHOICES[key][0] if key in CHOICES else "one of"
    values = [f"`{value}`" for value in _values_of(key, schema, name)]
    if key in KINDS:  # on the page reference/parameters.md
        values = [f"[{value}](../methods/{KINDS[key]}/{value.strip('`')}.md)" for value in values]
    return (
        f"{kind} {', '.join(values)}"
        if values
        else _words(schema["properties"][name], schema.get("$defs", {}))
    )


def _values_of(key: str, schema: dict[str, Any], name: str) -> tuple[str, ...]:
    values = CHOICES[key][1] if key in CHOICES else schema["properties"][name].get("enum", ())
    return tuple(map(str, values))


def _words(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _words(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return " or ".join(_words(option, defs) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _range(schema)
    if kind == "array":
        return f"list of {_words(schema['items'], defs)}"
    return {"boolean": "true, false", "null": "null", "string": "text", "object": "keys and values"}.get(
        kind or "", "anything"
    )


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    bounds = [
        f"from {least}" if least is not None else "",
        f"above {above}" if above is not None else "",
        f"to {most}" if most is not None else "",
        f"below {below}" if below is not None else "",
    ]
    return "".join(f" {bound}" for bound in bounds if bound)


def sections() -> str:
    """Return a section for every block of params.yaml, methods' blocks included."""
    parts = ["## Switches", markdown(table(""), full=True)]
    for path in _blocks("", _values()):
        depth = 2 + path.count(".")
        about = (block(path).__doc__ or "").split("\n\n")[0]
        above = [line for line in comments().get(path, []) if line]
        parts += [f"{'#' * depth} {path}", " ".join(about.split()), " ".join(above)]
        rows = table(path)
        if rows or not any(True for _ in _blocks(path, _at(path))):
            parts.append(markdown(rows, full=True))
    return "\n\n".join(part for part in parts if part)


def _at(path: str) -> dict[str, Any]:
    values = _values()
    for part in filter(None, path.split(".")):
        values = values[part]
    return values


def _blocks(path: str, values: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of all blocks in a block, by dots."""
    model = block(path)
    for name, inner in values.items():
        if _is_block(model, name):
            key = f"{path}.{name}".lstrip(".")
            yield key
            yield from _blocks(key, inner)
