"""Ask git, and run other programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

from pipeline.core.errors import UserError, one_line


def said(*arguments: str) -> str | None:
    """Return what git prints, without the last line's end; None where it refuses, as outside of a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:  # it is not installed
        return None
    # Names of files and messages may be in any encoding.
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None


def run(*command: str, **variables: str) -> str:
    """Return what a command prints.

    Args:
        command: its words.
        variables: of its environment, beside those there are.

    Raises:
        UserError: it fails; the line is the error that it named, or the last one that it said.
    """
    # Into files: a pipe would stay open, and this wait for its end, as long as DVC's workers live.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        environment = os.environ | variables
        code = subprocess.run(command, stdout=out, stderr=errors, env=environment, check=False).returncode
        out.seek(0)
        errors.seek(0)
        if code:
            said = [line for line in errors if line.strip()] or ["no reason given"]
            named = [line for line in said if line.startswith("ERROR")]  # DVC thanks for reports after it
            program = Path(command[0]).name if command[0] != sys.executable else "dvc"
            raise UserError(f"{program}: {one_line((named or said)[-1])}")
        return out.read()


def refs() -> dict[str, str]:
    """Return git's reference of each finished experiment by name; of two with one name, the newer one."""
    listed = run("git", "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")
    refs = [ref for ref in listed.splitlines() if ref.split("/")[2] not in ("exec", "stash", "celery")]
    return {ref.rpartition("/")[2]: ref for ref in refs}
