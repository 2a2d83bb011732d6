"""How a process ends: together with the process that started it, and in order when it is told to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# Seconds between two looks at the parent.
INTERVAL = 0.2
# Signals that tell a process to end; the second one comes from a terminal that is closed.
TOLD = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# Variable with the process id of the `fer` that started torchrun's processes, which have no other way to know it.
LAUNCHER = "FER_LAUNCHER"


def end_orderly() -> None:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that temporary files are removed and workers are ended."""
    _handle(*TOLD, handler=_exit)


def end_at_once() -> None:
    """Undo `end_orderly` in a worker, which has the handlers of its parent if it was forked."""
    _handle(*TOLD, handler=signal.SIG_DFL)


@contextmanager
def only_first_signal() -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP end the block, and ignore later ones until the block has ended."""
    handlers = {
        number: handler for number in (signal.SIGINT, *TOLD) if callable(handler := signal.getsignal(number))
    }

    def first(number: int, frame: FrameType | None) -> None:
        for other in handlers:
            signal.signal(other, signal.SIG_IGN)
        handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _handle(*numbers: signal.Signals, handler: Any) -> None:
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under `nohup`
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def worker_ends_with_parent() -> None:
    """End this worker process of `multiprocessing` when its parent ends, even if the parent is killed.

    Ctrl-C is left to the parent, which then ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent and parent.pid:
        _end_after(parent.pid)


def stage_ends_with_launcher() -> None:
    """End this process when DVC, or the `fer` that runs torchrun, ends. A shell's command does not end with the shell.

    Call this before slow imports: a launcher that ends meanwhile is noticed then.
    """
    if LAUNCHER in os.environ:
        _end_after(int(os.environ[LAUNCHER]))
    elif "DVC_STAGE" in os.environ:
        launchers = _launchers()
        # Process 1 adopts orphans. As DVC, in a container, it leads the process group of its stages.
        orphan = launchers[-1] == 1 and os.getpgid(1) != os.getpgrp()
        _end_unless(lambda: not orphan and _launchers() == launchers)


def _launchers() -> list[int]:
    """Return the process ids of this stage's parent, and of DVC if the parent is a shell.

    bash gives its process to the stage. Other shells, such as Debian's dash, stay, and do not end with DVC.
    """
    import psutil  # here, as every command imports this module

    parent = os.getppid()
    with suppress(psutil.Error):
        shell = psutil.Process(parent)
        if shell.cmdline()[:1] == [os.environ.get("SHELL") or "/bin/sh"]:
            return [parent, shell.ppid()]
    return [parent]


def _end_after(parent: int) -> None:
    _end_unless(lambda: os.getppid() == parent)


def _end_unless(goes_on: Callable[[], bool]) -> None:
    # A parent-death signal of Linux would follow the thread that started this process, and be lost before it is set.
    threading.Thread(target=_wait, args=(goes_on,), daemon=True).start()


def _wait(goes_on: Callable[[], bool]) -> None:
    while goes_on():
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
