"""The package's own source files: names of modules, and files for fingerprints of unfinished work."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def modules(room: str) -> tuple[str, ...]:
    """Return the names of the modules in a room (`faces/detectors`), sorted."""
    return tuple(sorted(path.stem for path in (PACKAGE / room).glob("[!_]*.py")))


def sources(*rooms: str) -> list[Path]:
    """Return the source files of rooms (`training`) and modules (`stages/train.py`) of the package, sorted.

    Work that was killed resumes only if none of the files that decide its outcome has changed.
    """
    files: set[Path] = set()
    for room in rooms:
        path = PACKAGE / room
        files.update([path] if path.suffix else path.rglob("*.py"))
    return sorted(files)
