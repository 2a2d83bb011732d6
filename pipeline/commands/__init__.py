"""The user's tools: commands of `fer` that are no stage of the chain."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return the text below a command's help: lines that can be typed as they stand."""
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines])
