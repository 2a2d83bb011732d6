"""Change values in the text of `params.yaml` and keep everything else: comments, quotes, layout.

Only the characters of a changed value are replaced. YAML libraries write the whole file anew, and move or lose comments
where a list becomes null.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

_BEFORE_COMMENT = re.compile(" +(?=#)")
_COMMENT = re.compile("#.*")


class Edit(NamedTuple):
    """Characters of a text, from `start` to before `end`, and what replaces them."""

    start: int
    end: int
    new: str


def with_values(text: str, values: dict[str, Any]) -> str:
    """Return the text of a YAML file with the given content.

    Args:
        text: a file whose content is a mapping.
        values: the content of the new text. Keys that only `text` has are not allowed.

    Raises:
        ValueError: the text cannot be changed in place, for example because one value stands for two (an alias).
    """
    yaml = YAML(typ="safe")
    edits = sorted(_edits(text, yaml.compose(text), yaml.load(text), values), reverse=True)
    new = text
    for edit in edits:
        new = new[: edit.start] + edit.new + new[edit.end :]
    with contextlib.suppress(YAMLError):  # an alias without its anchor, for example
        if yaml.load(new) == values:
            return new
    raise ValueError("found values that cannot be replaced in place")


def _edits(text: str, node: MappingNode, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Edit]:
    nodes = {key.value: (key, value) for key, value in node.value}
    for name, value in new.items():
        if name not in nodes:
            yield _addition(text, node, f"{name}: {_flow(value)}")
        elif value != old[name]:
            key, present = nodes[name]
            if _is_block(old[name]) and _is_block(value) and old[name].keys() <= value.keys():
                yield from _edits(text, present, old[name], value)
            else:
                yield from _replacement(text, key, present, value)


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _replacement(text: str, key: Node, node: Node, value: Any) -> Iterator[Edit]:
    """Replace a value. A list or mapping of several lines becomes a single line, with its comments on lines below."""
    after_key = text.index(":", key.end_mark.index) + 1
    start = node.start_mark.index
    below = f"\n{' ' * (key.start_mark.column + 2)}"
    if isinstance(node, CollectionNode) and not node.flow_style:
        line_end = text.index("\n", after_key)
        yield Edit(after_key, after_key, f" {_flow(value)}")
        yield Edit(
            line_end, _end(node), "".join(below + comment for comment in _comments(text, line_end, node))
        )
        return
    new, end = _flow(value) if start > after_key else f" {_flow(value)}", node.end_mark.index
    if comments := _comments(text, start, node):
        rest = text[end:].partition("\n")[0].strip()
        new += "".join(below + comment for comment in comments) + (below if rest and rest[0] != "#" else "")
    elif gap := _BEFORE_COMMENT.match(text, end):  # the comment stays in its column, if the value leaves room
        new, end = f"{new}  ".ljust(gap.end() - start), gap.end()
    yield Edit(start, end, new)


def _comments(text: str, start: int, node: Node) -> list[str]:
    """Return the comments from `start` to the end of a value."""
    ends = [start, *(scalar.end_mark.index for scalar in _scalars(node))]
    starts = [*(scalar.start_mark.index for scalar in _scalars(node)), _end(node)]
    return [
        found for end, start in zip(ends, starts, strict=True) for found in _COMMENT.findall(text[end:start])
    ]


def _scalars(node: Node) -> Iterator[Node]:
    """Yield the keys and values in a value that are neither lists nor mappings."""
    if isinstance(node, CollectionNode):
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                yield from _scalars(part)
    else:
        yield node


def _addition(text: str, node: MappingNode, entry: str) -> Edit:
    """Add an entry at the end of a mapping."""
    end = _end(node)
    if node.flow_style:
        return Edit(end - 1, end - 1, f", {entry}" if node.value else entry)
    line_end = text.find("\n", end)
    position = len(text) if line_end < 0 else line_end
    return Edit(position, position, f"\n{' ' * node.start_mark.column}{entry}")


def _end(node: Node) -> int:
    """Return the end of a value. The mark of a list or mapping of several lines is after the comments that follow."""
    if isinstance(node, CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last)
    return node.end_mark.index


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = True, 2**16
    yaml.dump({"value": value}, text)
    return text.getvalue().strip().removeprefix("{value: ").removesuffix("}")
