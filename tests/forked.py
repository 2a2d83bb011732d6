"""Processes that need not load torch, which takes seconds: they are forked from one that has. They are real ones all
the same, with an end and an output of their own; what `python -m pipeline` does beyond that is tested where it counts.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import cli
from pipeline.stages import synthesize, train  # noqa: F401 - for those who are forked

ROOT = Path(__file__).parents[1]
# Not forked from the process of the tests: its threads, and what it did with a GPU, would be lacking.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def start(
    function: Callable[..., object], *arguments: Any, out: str = os.devnull, errors: str = os.devnull
) -> ForkServerProcess:
    """Call a function of a module in a new process, in the current folder.

    Args:
        function: survives pickling, and so do its arguments.
        arguments: the function's.
        out: the file for what it prints.
        errors: the file for what it says on the standard error.
    """
    with contextlib.chdir(ROOT):  # where the module is found, and what outlives a test is in no folder of it
        forkserver.ensure_running()
    process = CONTEXT.Process(target=_begin, args=(dict(os.environ), out, errors, function, arguments))
    process.start()
    return process


def run(function: Callable[..., object], *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Call a function as `start` does and wait for its end."""
    with TemporaryDirectory() as folder:
        files = [f"{folder}/out", f"{folder}/errors"]
        process = start(function, *arguments, out=files[0], errors=files[1])
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            (), process.exitcode, *(Path(file).read_text(encoding="utf-8") for file in files)
        )


def fer(*words: str) -> None:
    """Do what `fer` does, in this process."""
    sys.argv[1:] = words
    cli.main()


def _begin(
    environment: dict[str, str],
    out: str,
    errors: str,
    function: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, file in ((1, out), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    function(*arguments)
