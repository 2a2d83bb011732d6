"""Tables of parameters: names, defaults and comments from params.yaml, types and ranges from `pipeline.params`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ruamel.yaml import YAML

from pipeline import params
from pipeline.params.methods import BLOCKS, choices
from pipeline.params.types import Block

ROOT = Path(__file__).parents[2]
# Values that a validator and not a type restricts.
CHOICES = {
    "datasets": ("list of", choices("dataset")),
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
_EXPLANATION = re.compile(r"(\w+) {2,}(\S.*)")


class Parameter(NamedTuple):
    """A line of params.yaml.

    Attributes:
        key: by dots.
        allowed: type and range in words.
        default: the value in params.yaml, as it is written there.
        comment: Markdown, from the comments of params.yaml.
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
    """Return the parameters of a block that are not blocks themselves, in the order of params.yaml."""
    model, values = block(path), _at(path)
    schema = model.model_json_schema()
    shared = _shared(path)
    rows = []
    for name, value in values.items():
        if _is_block(model, name):
            continue
        key = f"{path}.{name}".lstrip(".")
        own = prose(comments().get(key, []), _values_of(key, schema, name))
        comment = "; ".join(filter(None, [shared.get(name), own]))
        rows.append(Parameter(key, _allowed(key, schema, name), _written(value), comment))
    return rows


def prose(lines: list[str], names: tuple[str, ...] = ()) -> str:
    """Return lines of comment as Markdown, with one line for each of the `names` that they explain.

    A line that lists only names is left out: the table has them in a column of their own.
    """
    lines = [line for line in lines if not set(line.replace(",", " ").split()) <= {*names}]
    return "<br>".join(f"`{name}`: {text}" if name else text for name, text in explained(lines, names))


def explained(lines: list[str], names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the parts of a comment as (name, text).

    `name    text` explains a name; a line indented by two spaces goes on with the text. The name of other text is "".
    """
    parts: list[tuple[str, str]] = []
    for line in lines:
        entry = _EXPLANATION.fullmatch(line)
        if entry and entry[1] in names:
            parts.append((entry[1], entry[2]))
        elif parts and (line.startswith("  ") or not parts[-1][0]):
            parts[-1] = (parts[-1][0], f"{parts[-1][1]} {line.strip()}")
        else:
            parts.append(("", line.strip()))
    return parts


def _shared(path: str) -> dict[str, str]:
    """Return the explanations of keys in the comments on a block and on the blocks beside it."""
    parts = [part for sibling in _siblings(path) for part in _parts(sibling)]
    return {name: text for name, text in parts if name}


def _parts(path: str) -> list[tuple[str, str]]:
    """Return the parts of the comment on a block, which may explain keys of all blocks beside it."""
    names = {key for sibling in _siblings(path) for key in _at(sibling)}
    return explained(comments().get(path, []), names)


def _siblings(path: str) -> list[str]:
    """Return the blocks in the same block as this one, itself included; none for a block at the top."""
    parent = path.rpartition(".")[0]
    return [key for key in _blocks(parent, _at(parent)) if parent and key.rpartition(".")[0] == parent]


def markdown(rows: list[Parameter], full: bool = False) -> str:
    """Return a table; keys without their block unless `full`."""
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
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return "".join(f" {word} {schema[key]:,.15g}" for key, word in words.items() if key in schema)


def sections() -> str:
    """Return a section for every block of params.yaml, methods' blocks included."""
    parts = ["## Switches", markdown(table(""), full=True)]
    for path in _blocks("", _values()):
        parts += [f"{'#' * (2 + path.count('.'))} {path}", _about(path)]
        rows = table(path)
        if rows:
            parts.append(markdown(rows, full=True))
    return "\n\n".join(part for part in parts if part)


def _about(path: str) -> str:
    """Return the comment on a block without what explains its keys or, where there is none, its class's docstring."""
    texts = [text for name, text in _parts(path) if not name and not text.endswith(":")]
    about = " ".join(texts or (block(path).__doc__ or "").split("\n\n")[0].split())
    return f"{about[:1].upper()}{about[1:].rstrip('.')}."


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
