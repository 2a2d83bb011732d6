"""Run other programs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from tempfile import TemporaryFile

from pipeline.core.errors import UserError, one_line


def path() -> str:
    """Return a PATH on which the programs of this environment come first, even if it is not activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def output(*command: str, **variables: str) -> str:
    """Run a program and return what it prints.

    Args:
        command: the program and its arguments.
        variables: environment variables to add or replace.

    Raises:
        UserError: the program fails. The message is its last line that starts with `ERROR`, or else its last line.
    """
    # DVC's workers inherit these files. They would keep a pipe open, and reading it would last as long as they live.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        environment = os.environ | variables
        code = subprocess.run(command, stdout=out, stderr=errors, env=environment, check=False).returncode
        out.seek(0)
        errors.seek(0)
        if code:
            lines = [line for line in errors if line.strip()] or [_no_reason()]
            # After the error DVC prints a request for reports.
            marked = [line for line in lines if line.startswith("ERROR")]
            program = Path(command[0]).name if command[0] != sys.executable else "dvc"
            raise UserError(f"{program}: {one_line((marked or lines)[-1])}")
        return out.read()


def _no_reason() -> str:
    """Return why a program that failed said nothing: what it says goes into a temporary file."""
    folder = tempfile.gettempdir()
    full = shutil.disk_usage(folder).free < 2**16
    return f"{folder}: {os.strerror(errno.ENOSPC)}" if full else "no reason given"
