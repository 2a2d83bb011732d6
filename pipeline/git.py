"""What git says."""

from __future__ import annotations

import subprocess


def said(*arguments: str) -> str | None:
    """Return what git prints, without the last line's end; None where it refuses, as outside of a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:  # it is not installed
        return None
    # Names of files and messages may be in any encoding.
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None
