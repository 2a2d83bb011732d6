"""One way to show progress: a bar with rate and time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], *, total: int | None = None, desc: str, unit: str) -> tqdm[T]:
    """Return `items` wrapped in a progress bar on standard error."""
    return tqdm(items, total=total, desc=desc, unit=f" {unit}", **_style())


def bar(total: int, *, desc: str, unit: str, shows: bool = True) -> tqdm[Any]:
    """Return a progress bar that is moved by hand, a context manager; unless it `shows`, nothing is seen."""
    return tqdm(total=total, desc=desc, unit=f" {unit}", disable=not shows, **_style())


def _style() -> dict[str, Any]:
    log = not sys.stderr.isatty()
    return {"mininterval": 10 if log else 0.1, "ascii": log, "dynamic_ncols": True}


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
    """Return a value of params.yaml as it stands there."""
    if isinstance(value, list):
        return f"[{', '.join(map(in_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
