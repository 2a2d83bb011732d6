"""One way to show progress: a bar with rate and time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T] | None = None, *, total: int | None = None, desc: str, unit: str) -> tqdm[T]:
    """Return `items` wrapped in a progress bar on standard error."""
    log = not sys.stderr.isatty()
    return tqdm(
        items,
        total=total,
        desc=desc,
        unit=f" {unit}",
        mininterval=10 if log else 0.1,
        ascii=log,
        dynamic_ncols=True,
    )
