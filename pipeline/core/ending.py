"""How a process ends: together with the process that started it, and in order when it is told to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from types import FrameType

# Seconds between two looks at the parent.
INTERVAL = 0.2
# Variable with the process id of the `fer` that started torchrun's processes, which have no other way to know it.
LAUNCHER = "FER_LAUNCHER"


def end_orderly() -> None:
    """Turn SIGTERM into `SystemExit`, so that temporary files are removed and workers are ended."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def worker_ends_with_parent() -> None:
    """End this worker process of `multiprocessing` when its parent ends, even if the parent is killed."""
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
        parent = os.getppid()
        # Process 1 adopts orphans. As DVC, in a container, it leads the process group of its stages.
        orphan = parent == 1 and os.getpgid(parent) != os.getpgrp()
        _end_after(0 if orphan else parent)


def _end_after(parent: int) -> None:
    # A parent-death signal of Linux would follow the thread that started this process, and be lost before it is set.
    threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
