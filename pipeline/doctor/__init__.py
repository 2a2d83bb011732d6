"""Whether a machine and a project are fit for the chain, check by check, and what to do where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How a check ended: a fault stops the chain, a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: how it ended.
        found: in words.
        remedy: what to do; empty where nothing has to be done.
    """

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """Return the finding of a check with which all is well."""
    return Finding(State.OK, found)


def warning(found: str, remedy: str) -> Finding:
    """Return the finding of something that may stand in the way."""
    return Finding(State.WARNING, found, remedy)


def fault(found: str, remedy: str) -> Finding:
    """Return the finding of something that stops the chain."""
    return Finding(State.FAULT, found, remedy)


Check = Callable[[], Iterator[Finding]]
