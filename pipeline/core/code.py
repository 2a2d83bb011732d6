"""List the package's own modules and source files."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def modules(room: str) -> tuple[str, ...]:
    """Return the names of the modules in a folder of the package (`faces/detectors`), sorted."""
    return tuple(sorted(path.stem for path in (PACKAGE / room).glob("[!_]*.py")))


def sources(*rooms: str) -> list[Path]:
    """Return the source files of folders (`training`) and modules (`stages/train.py`) of the package, sorted.

    Unfinished work contains their fingerprint: it resumes only if these files have not changed.
    """
    files: set[Path] = set()
    for room in rooms:
        path = PACKAGE / room
        files.update([path] if path.suffix else path.rglob("*.py"))
    return sorted(files)
