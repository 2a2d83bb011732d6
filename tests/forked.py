"""Processes that need not load torch, which takes seconds: they are forked from one that has. They are real ones all
the same, with an end and an output of their own; what `python -m pipeline` does beyond that is tested where it counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import forkserver, get_context, set_start_method
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline import cli
from pipeline.experiments import workers

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
# Not forked from the process of the tests: its threads, and what it did with a GPU, would be lacking.
CONTEXT = get_context("forkserver")
# What our stages, DVC and the tests need is imported once, before any fork. It takes seconds.
CONTEXT.set_forkserver_preload(
    [
        "albumentations",
        "dvc.cli",
        "dvc.repo.experiments.queue.celery",
        "networkx",
        "pandas",
        "pipeline.stages.evaluate",
        "pipeline.stages.synthesize",
        "pipeline.stages.train",
        "pygit2",
        "sklearn.metrics",
        "tests.doc_commands",
        "tests.toy",
        "torch._dynamo",  # torch imports it for the first optimizer
        __name__,
    ]
)


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


# What `python -m MODULE` does, by its module.
MODULES: dict[str, Callable[[list[str]], object]] = {
    "pipeline": lambda _: cli.main(),
    "dvc": lambda words: import_module("dvc.cli").main(words),
    workers.__name__: lambda words: workers.spawn(words),
}


# Stands for `python` and `dvc`. It sends its words, folder, variables and open files, and ends as what is forked ends.
PROGRAM = """#!{python} -IS
import json, os, socket, sys
words = sys.argv[1:] if sys.argv[0].endswith("/python") else ["-m", "dvc", *sys.argv[1:]]
if words[:1] != ["-m"] or words[1] not in {modules!r} or "queue-worker" in words:
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(4)], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""


@contextlib.contextmanager
def programs() -> Iterator[Path]:
    """Yield a folder for the PATH whose `dvc`, and `python -m` of one of `MODULES`, are forked.

    A worker of DVC's queue is a process of its own: tests look for it, and kill it.
    """
    with TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        for name in ("python", "dvc"):
            program = Path(folder, name)
            program.write_text(PROGRAM.format(python=sys.executable, address=address, modules=list(MODULES)))
            program.chmod(0o755)
        server = start(_serve, address, errors=f"{folder}/errors")
        try:
            while not Path(address).exists():
                assert server.is_alive(), Path(folder, "errors").read_text()
                time.sleep(0.01)
            yield Path(folder)
        finally:
            server.kill()
            server.join()


def call_from_workers(programs: Path, patch: pytest.MonkeyPatch) -> None:
    """Have the workers of DVC's queue, and who starts them, call the programs in a folder that `programs` yields."""
    patch.setattr(workers, "sys", SimpleNamespace(executable=str(programs / "python")))


def _serve(address: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended needs no one who waits
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{address}.new")
        listening.listen(64)
        os.rename(f"{address}.new", address)
        while True:
            asking, _ = listening.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                _do(asking)
            asking.close()


def _do(asking: socket.socket) -> None:
    """Do what a program asks for, tell it the exit code, and end."""
    size, files, _, _ = socket.recv_fds(asking, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size):
        request += asking.recv(1 << 16)
    (_, module, *words), folder, environment = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # what an import has asked for in another environment
    sys.argv = [module, *words]
    code: Any = 1
    try:
        code = MODULES[module](words)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    code = (code or 0) % 256
    asking.send(bytes([code]))
    os._exit(code)


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
    # As in a new process. A fork server of its own would import everything again.
    set_start_method(None, force=True)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # what an import has asked for in another environment
    for number, file in ((1, out), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    function(*arguments)
