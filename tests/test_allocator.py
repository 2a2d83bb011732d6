"""Freed memory is kept for the next step of a training, and not fetched anew from the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from pipeline.core import allocator

if "keep" in sys.argv:
    allocator.keep_freed()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"1") * (80 << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def fetched(*arguments: str) -> int:
    """Return the pages that a program gets from the system when it allocates 80 MB for the third time."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
def test_memory_that_is_kept_is_not_fetched_again() -> None:
    assert fetched("keep") < 100
    assert fetched() > 1000, "the system gives the pages anew"
