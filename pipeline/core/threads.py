"""Keep torch's threads from waiting for each other in vain on a machine that does other work too.

The threads of an operation wait for each other at its end. A thread that waits spins: it does not give up its core. On
an idle machine that saves the time of falling asleep and waking up. On a busy machine the thread that it waits for may
have lost its core to another process, or may even need the core on which the other one spins. This module does two
things against that, and neither changes a result:

- It limits the spinning of libgomp, the OpenMP library in torch's packages for Linux, to a fraction of a millisecond.
- It moves threads that share a core apart. oneDNN, which computes convolutions, spins without any limit.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SPINS = "50000"  # rounds of waiting, each a few nanoseconds; libgomp's own limit is 300,000
OWN = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}  # variables with which a user sets a limit
INTERVAL = 0.25  # seconds between two looks at the threads
BUSY = 0.2  # cores that a thread uses if it computes, even beside other work


def limit_spinning() -> None:
    """Set libgomp's limit of spinning in the environment, before torch is imported. A user's own limit stays."""
    torch = find_spec("torch")
    has_libgomp = torch and torch.origin and list(Path(torch.origin).parent.glob("lib/libgomp*"))
    if has_libgomp and not OWN & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


@cache
def keep_apart() -> None:
    """Look after the threads of this process from now on, and move computing threads that share a core apart."""
    if sys.platform == "linux":
        threading.Thread(target=_keep_apart, daemon=True).start()


def _keep_apart() -> None:
    before: dict[int, float] = {}
    while True:
        allowed: dict[int, set[int]] = {}
        now = dict(_threads())
        computing = {
            thread: core
            for thread, (used, core) in now.items()
            if used - before.get(thread, used) > BUSY * INTERVAL
        }
        for thread, core in moves(computing, os.sched_getaffinity(0)).items():
            allowed[thread] = os.sched_getaffinity(thread)
            _allow(thread, {core} & allowed[thread])
        before = {thread: used for thread, (used, _) in now.items()}
        # Meanwhile the system moves other work to the core that has become free. Then the thread may go anywhere again.
        time.sleep(INTERVAL)
        for thread, cores in allowed.items():
            _allow(thread, cores)


def moves(computing: Mapping[int, int], cores: Iterable[int]) -> dict[int, int]:
    """Return the threads that have to move, and their new cores, so that each has a core of its own.

    The main thread stays, because the processes that it starts would inherit the core. So do threads for which no core
    is left.

    Args:
        computing: the core of each thread.
        cores: all that the process may use.
    """
    main = os.getpid()
    free = iter(sorted(set(cores) - set(computing.values())))
    taken: set[int] = set()
    found = {}
    for thread in sorted(computing, key=lambda thread: (thread != main, thread)):
        if computing[thread] in taken and (core := next(free, None)) is not None:
            found[thread] = core
        taken.add(computing[thread])
    return found


def _threads() -> Iterator[tuple[int, tuple[float, int]]]:
    """Yield each thread of this process with the seconds that it has computed and the core on which it last did."""
    ticks = os.sysconf("SC_CLK_TCK")
    for thread in os.listdir("/proc/self/task"):
        try:
            fields = Path("/proc/self/task", thread, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        yield int(thread), ((int(fields[11]) + int(fields[12])) / ticks, int(fields[36]))


def _allow(thread: int, cores: set[int]) -> None:
    with suppress(OSError):  # it has just ended, or its user allows it other cores only
        os.sched_setaffinity(thread, cores)
