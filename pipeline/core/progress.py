"""Progress bars on a terminal, progress lines in a log; text, counts, sizes and values as lines that fit."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TypeVar

import typer
from tqdm import tqdm

T = TypeVar("T")

WIDTH = 120  # most characters in a line


def say(text: str, *, indent: str = "  ", err: bool = False) -> None:
    """Print text in lines that fit, above a progress bar if one is shown."""
    with tqdm.external_write_mode(sys.stderr if err else sys.stdout):
        typer.echo(wrapped(text, indent=indent), err=err)


def wrapped(text: str, *, first: str = "", indent: str = "  ") -> str:
    """Return text in lines of at most `WIDTH` characters. A word that is longer, such as a path, stays whole.

    Args:
        text: one or several lines.
        first: what each line begins with.
        indent: what the lines begin with that continue one.
    """
    fill = textwrap.TextWrapper(
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        expand_tabs=False,
        break_long_words=False,
        break_on_hyphens=False,
    ).fill
    return "\n".join(map(fill, text.split("\n")))


def track(items: Iterable[T], *, total: int | None = None, desc: str, unit: str) -> tqdm[T]:
    """Return `items` with a progress bar on standard error."""
    return tqdm(items, total=total, desc=desc, unit=f" {unit}", **_style())


def bar(total: int, *, desc: str, unit: str, shows: bool = True) -> tqdm[Any]:
    """Return a progress bar to update by hand, a context manager. `shows=False` hides it."""
    return tqdm(total=total, desc=desc, unit=f" {unit}", disable=not shows, **_style())


def note(text: str) -> None:
    """Print a line on standard error, above a progress bar if one is shown."""
    tqdm.write(text, file=sys.stderr)


def _style() -> dict[str, Any]:
    if not sys.stderr.isatty():
        return {"mininterval": 10, "ascii": True, "dynamic_ncols": True}
    wide = os.get_terminal_size(sys.stderr.fileno()).columns > WIDTH
    return {"mininterval": 0.1, "ascii": False} | ({"ncols": WIDTH} if wide else {"dynamic_ncols": True})


def in_words(counts: dict[str, int]) -> str:
    """Return counts by name as text: `train 28,389, valid 3,553`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def in_bytes(size: float) -> str:
    """Return a number of bytes as text: `1.5 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if round(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def in_yaml(value: Any) -> str:
    """Return a value as it is written in params.yaml."""
    if isinstance(value, list):
        return f"[{', '.join(map(in_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
