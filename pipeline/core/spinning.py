"""Keep OpenMP's threads from wasting the cores of a machine that does other work too.

A thread of torch that has finished its part of an operation spins: it waits for the others without giving up its core,
for up to 3 ms. On an idle machine that saves the time of falling asleep and waking up. On a busy one, the spinning
thread takes the core from the very thread that it waits for.

libgomp, the OpenMP library in torch's packages for Linux, spins for about 10 µs only while it manages more threads than
the process has cores. So while other work needs the cores, additional threads are held that do nothing. They change no
result.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.core.parallel import cores

INTERVAL = 1.0  # seconds between two looks at the machine; the first look is shorter
FREE = 0.3  # cores that other work may use before spinning does harm
# libgomp's own limit, which a policy would replace. The policy decides how long the shorter spinning is: 1,000 rounds
# with `active`, 100 without a policy.
SPINNING = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"}


def prepare() -> None:
    """Set libgomp's limits of spinning in the environment, before torch is imported. The user's own settings stay."""
    torch = find_spec("torch")
    has_libgomp = torch and torch.origin and list(Path(torch.origin).parent.glob("lib/libgomp*"))
    if has_libgomp and not SPINNING.keys() & os.environ.keys():
        os.environ.update(SPINNING)


@cache
def watch() -> None:
    """Watch the machine in a background thread, and shorten the spinning while other work needs the cores."""
    if sys.platform == "linux":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    import torch

    held: threading.Event | None = None
    before, interval = _usage(), INTERVAL / 5
    while True:
        time.sleep(interval)
        now, interval = _usage(), INTERVAL
        used, seconds = (one - other for one, other in zip(now, before, strict=True))
        before = now
        threads = torch.get_num_threads()
        is_short = used / seconds > cores() - threads + FREE
        if is_short and held is None and threads > 1:
            held = _hold(-(-(cores() - threads + 1) // (threads - 1)))
        elif held and not is_short:
            held.set()
            held = None


def _usage() -> tuple[float, float]:
    """Return the seconds that other processes have used on the cores of this one, and the time."""
    import psutil

    times = psutil.cpu_times(percpu=True)
    used = sum(
        sum(times[core][:8]) - times[core].idle - times[core].iowait for core in os.sched_getaffinity(0)
    )
    return used - time.process_time(), time.monotonic()


def _hold(teams: int) -> threading.Event:
    """Hold teams of OpenMP threads until the event that is returned is set."""
    import torch

    end = threading.Event()

    def hold() -> None:
        torch.zeros(2**18).add_(1)  # large enough for an operation in parallel, which makes the team
        end.wait()

    for _ in range(teams):
        threading.Thread(target=hold, daemon=True).start()
    return end
