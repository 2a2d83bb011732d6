"""Check a machine and a project, and say how to fix problems."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """Result of a check. A fault stops the chain; a warning may do so."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """Finding of a check.

    Attributes:
        level: its level.
        text: the finding.
        remedy: what to do; empty if nothing has to be done.
    """

    level: Level
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """Return the finding of a problem that may stop the chain."""
    return Finding(Level.WARNING, text, remedy)


def fault(text: str, remedy: str) -> Finding:
    """Return the finding of a problem that stops the chain."""
    return Finding(Level.FAULT, text, remedy)
