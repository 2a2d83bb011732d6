"""Bound the memory that the images being worked on take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import UserError

# By default images take a quarter of the memory that is available, and no more than this many bytes for each worker:
# a worker has no use for more, as the largest image takes 0.7 GB.
SHARE, FOR_A_WORKER = 4, 3 * 10**9 // 4
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def budget(gigabytes: float | None, workers: int) -> float:
    """Return the bytes that images may take in all workers together.

    Args:
        gigabytes: the setting `memory`; None: a quarter of what is available, and at most 0.75 GB for each worker.
        workers: their number.

    Raises:
        UserError: it is negative or not a number.
    """
    if gigabytes is None:
        return min(available() / SHARE, workers * FOR_A_WORKER)
    if not gigabytes >= 0:
        raise UserError.of("memory", gigabytes, "a number of GB")
    return gigabytes * 10**9


def available() -> int:
    """Return the bytes that this process can still get, from the machine and from its control groups (containers)."""
    import psutil  # here, as every command imports this module

    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Yield the bytes that are left in each control group with a limit: this process's own and those around it."""
    try:
        groups = OWN_GROUPS.read_text().splitlines()
    except OSError:  # not on Linux
        return
    for group in groups:
        _, controllers, name = group.split(":", 2)
        if not controllers:  # version 2
            root, limit, used, reclaimable = GROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used = GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            reclaimable = "total_inactive_file"
        else:
            continue
        own = root / name.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                with suppress(OSError, ValueError):  # no such file, or no limit: "max"
                    most, now = (int((folder / file).read_text()) for file in (limit, used))
                    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    yield max(0, most - now + int(stat.get(reclaimable, 0)))
