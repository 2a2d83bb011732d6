"""How long OpenMP's threads spin: shorter while other work needs the cores, without a change of any result."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

from pipeline.core import spinning

PRINTED = """
import os
from pipeline.core import spinning
spinning.prepare()
print({name: os.environ.get(name) for name in spinning.SPINNING})
"""


def until(condition: Callable[[], bool]) -> bool:
    """Wait at most ten seconds for a condition."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="torch has libgomp on Linux alone")
@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "passive"}, {"GOMP_SPINCOUNT": "7"}])
def test_a_users_own_limits_stay(own: dict[str, str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in spinning.SPINNING}
    printed = subprocess.run(
        [sys.executable, "-c", PRINTED], env=environment | own, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(
        {key: own.get(key) for key in spinning.SPINNING} if own else spinning.SPINNING
    )


@pytest.mark.skipif(sys.platform != "linux", reason="torch has libgomp on Linux alone")
def test_threads_are_held_while_other_work_needs_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [0.0]  # cores that others use
    begin = time.monotonic()

    def usage() -> tuple[float, float]:
        usage.used += others[0] * (time.monotonic() - usage.seen)
        usage.seen = time.monotonic()
        return usage.used, usage.seen

    usage.used, usage.seen = 0.0, begin
    monkeypatch.setattr(spinning, "_usage", usage)
    monkeypatch.setattr(spinning, "INTERVAL", 0.05)
    monkeypatch.setattr(spinning, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    before = threading.active_count()
    spinning.watch.__wrapped__()
    assert until(lambda: threading.active_count() == before + 1)  # the watcher alone
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(2, 300, 300, generator=generator)
    product = factors[0] @ factors[1]
    others[0] = 2.0
    assert until(lambda: threading.active_count() == before + 2)
    assert torch.equal(factors[0] @ factors[1], product)
    others[0] = 0.0
    assert until(lambda: threading.active_count() == before + 1)
    assert torch.equal(factors[0] @ factors[1], product)
