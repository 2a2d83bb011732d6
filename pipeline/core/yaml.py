"""Read YAML files that people share. None takes long to read, and none takes much memory.

A few lines of YAML can stand for billions of values: ten levels of lists, each of ten aliases of the level below. A
file is therefore measured before its values are built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from pipeline.core.errors import UserError, mismatch, one_line

# params.yaml has 40 KB, 700 values and four levels.
MOST_BYTES, MOST_VALUES, MOST_LEVELS = 2**20, 20_000, 64
# Characters of a number or a word. Python refuses to print a number of more than 4,300 digits.
MOST_LETTERS = 3_000


def read(path: Path, source: Path | None = None) -> Any:
    """Return the content of a YAML file.

    Args:
        path: the file.
        source: its name for messages, if `path` is a temporary copy.

    Raises:
        UserError: the file cannot be read, or as `parse`.
    """
    source = source or path
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for somebody who writes
            raise UserError(f"{source}: not a file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    try:
        # The last character may be cut in a file that is too large.
        return parse(data.decode("utf-8", "ignore" if len(data) > MOST_BYTES else "strict"), source)
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: byte {error.start} is not UTF-8") from None


def parse(text: str, source: object) -> Any:
    """Return the content of a YAML text.

    Args:
        text: the text.
        source: its name, for messages.

    Raises:
        UserError: the text is not valid, or exceeds one of the limits above.
    """
    try:
        if excess := _excess(text):
            raise UserError(f"{source}: {excess}")
        # With `-S`, DVC reads the file with a parser that is slower and allows no tab between words.
        return YAML(typ="safe", pure="\t" in text).load(text)
    except UserError:
        raise
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{source}: {line}not valid YAML: {one_line(error.problem)}") from None
    except Exception as error:  # values that their tag does not allow raise many types
        raise UserError(f"{source}: not valid YAML: {one_line(error)}") from None


def _excess(text: str) -> str:
    """Return where a text exceeds a limit, and which one; empty if it does not."""
    if len(text) > MOST_BYTES:
        return mismatch(f"more than {MOST_BYTES:,} bytes", f"at most {MOST_BYTES:,}")
    named: dict[str, int] = {}  # number of values in what an anchor names
    counts: list[tuple[str | None, int]] = [
        (None, 0)
    ]  # anchor and values so far of each open list and mapping
    for event in YAML(typ="safe").parse(text):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, CollectionStartEvent):
            counts.append((event.anchor, 1))
        elif isinstance(event, CollectionEndEvent):
            _add(counts, named, *counts.pop())
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in counts):
                return (
                    f"{line}: {mismatch(f'a value that holds itself (*{event.anchor[:40]})', 'other values')}"
                )
            _add(counts, named, None, named.get(event.anchor, 0))
        elif isinstance(event, ScalarEvent):
            _add(counts, named, event.anchor, 1)
            if len(event.value) > MOST_LETTERS and not event.implicit[1]:  # with a tag, or without quotes
                found = f"a word of {len(event.value):,} letters"
                return f"{line}: {mismatch(found, f'at most {MOST_LETTERS:,}, or a text in quotes')}"
        for number, most, unit in (
            (len(counts) - 1, MOST_LEVELS, "levels"),
            (counts[-1][1], MOST_VALUES, "values"),
        ):
            if number > most:
                return f"{line}: {mismatch(f'more than {most:,} {unit}', f'at most {most:,}')}"
    return ""


def _add(
    counts: list[tuple[str | None, int]], named: dict[str, int], anchor: str | None, values: int
) -> None:
    """Count a value, and all values in it, in the list or mapping around it."""
    if anchor:
        named[anchor] = values
    around, before = counts[-1]
    counts[-1] = around, before + values
