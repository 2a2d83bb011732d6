"""Commands of `fer` that are not stages."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return example commands as the text below a command's help."""
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines])
