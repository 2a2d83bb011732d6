"""Keep freed memory for the next step of a training.

A training step allocates and frees the same tensors as the step before. glibc gives large blocks back to the system,
and the system fills every page with zeros before a program gets it again. benchmarks/README.md has the cost.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # numbers of these settings in glibc's malloc.h


def keep_freed() -> None:
    """Let this process keep up to 2 GB of freed memory from now on. Without glibc nothing changes."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
