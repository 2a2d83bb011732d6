"""Ask git about commits and experiments."""

from __future__ import annotations

import subprocess

from pipeline.core import programs


def output(*arguments: str) -> str | None:
    """Return what git prints, without the final newline; None if git fails, for example outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:  # git is not installed
        return None
    # File names and commit messages can be in any encoding.
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None


def experiment_refs() -> dict[str, str]:
    """Return the git reference of each finished DVC experiment by name; the newest if several share a name."""
    listed = programs.output(
        "git", "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps"
    )
    refs = [ref for ref in listed.splitlines() if ref.split("/")[2] not in ("exec", "stash", "celery")]
    return {ref.rpartition("/")[2]: ref for ref in refs}
