"""Change values in the text of `params.yaml` and keep everything else: comments, quotes, layout.

Only the characters of a changed value are replaced. The new value has the form in which `dvc exp run -S` writes it, so
that DVC leaves it as it is: a list has a line for each item, null is empty, and long lines are broken. DVC itself
writes the whole file anew, and loses or moves comments in some layouts.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

_WIDTH = 80  # of DVC's lines; longer ones are broken
_COMMENT = re.compile("#.*")
_COMMENT_BESIDE = re.compile("( +)(#.*)")


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
            yield _addition(text, node, name, value)
        elif repr(value) != repr(old[name]):  # 1 is not true
            key, present = nodes[name]
            if _is_block(old[name]) and _is_block(value) and old[name].keys() <= value.keys():
                yield from _edits(text, present, old[name], value)
            else:
                yield from _replacement(text, node, key, present, value)


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _replacement(text: str, parent: MappingNode, key: Node, node: Node, value: Any) -> Iterator[Edit]:
    """Replace a value.

    Comments within it move to lines of their own above its key. The comment beside it stays in its column, if the new
    value leaves room.
    """
    after_key = text.index(":", key.end_mark.index) + 1
    end = max(_end(node), after_key)
    beside = _COMMENT_BESIDE.match(text, after_key if _in_lines(node) else end)
    line = text.rfind("\n", 0, key.start_mark.index) + 1
    within = beside.end() if beside and _in_lines(node) else after_key
    if comments := _comments(text, within, node):
        indent = " " * (len(text[line:]) - len(text[line:].lstrip(" ")))
        yield Edit(line, line, "".join(f"{indent}{comment}\n" for comment in comments))
    if parent.flow_style:
        yield Edit(after_key, end, _flow_entry(key.value, value).removeprefix(f"{key.value}:"))
        return
    if isinstance(node, CollectionNode) and node.flow_style and node.value:
        value = _in_one_line(value)
    new = _block_entry(key.value, value, key.start_mark.column).removeprefix(f"{key.value}:")
    if beside:
        end = max(end, beside.end())
        first, rest = ("", new) if new.startswith("\n") else (new, "")
        used = len((text[line:after_key] + first).rpartition("\n")[2])
        column = beside.start(2) - text.rfind("\n", 0, beside.start(2)) - 1
        new = first + " " * max(1, column - used) + beside[2] + rest
    yield Edit(after_key, end, new)


def _addition(text: str, node: MappingNode, name: str, value: Any) -> Edit:
    """Add an entry at the end of a mapping."""
    end = _end(node)
    if node.flow_style:
        return Edit(end - 1, end - 1, f"{', ' if node.value else ''}{_flow_entry(name, value)}")
    column, position = node.start_mark.column, _line_end(text, end)
    return Edit(position, position, f"\n{' ' * column}{_block_entry(name, value, column)}")


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


def _in_lines(node: Node) -> bool:
    """Return whether a value is a list or a mapping in block style: with a line for each item."""
    return isinstance(node, CollectionNode) and not node.flow_style


def _end(node: Node) -> int:
    """Return the end of a value. The mark of a list or mapping of several lines is after the comments that follow."""
    if _in_lines(node):
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last)
    return node.end_mark.index


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _block_entry(name: str, value: Any, column: int) -> str:
    """Return `name: value` as DVC writes it at a column."""
    return _dumped(name, value, False, _WIDTH - column).replace("\n", "\n" + " " * column)


def _flow_entry(name: str, value: Any) -> str:
    """Return `name: value` in one line."""
    return _dumped(name, value, True, 2**16)[1:-1]


def _dumped(name: str, value: Any, flow: bool, width: int) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = flow, width
    yaml.dump({name: value}, text)
    return text.getvalue().rstrip("\n")


def _in_one_line(value: Any) -> Any:
    """Return a value that is written in flow style if it is a list or a mapping."""
    if isinstance(value, dict | list):
        value = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
        value.fa.set_flow_style()
    return value
