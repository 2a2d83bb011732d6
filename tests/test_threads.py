"""Let torch's threads wait for each other briefly, and on different cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import threads
from tests.test_ending import wait_for

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="torch has libgomp on Linux alone")
PRINTED = """
import os
from pipeline.core import threads
threads.limit_spinning()
print({name: os.environ[name] for name in sorted(threads.OWN & os.environ.keys())})
"""


@LINUX
@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "passive"}, {"GOMP_SPINCOUNT": "7"}])
def test_a_users_own_limit_stays(own: dict[str, str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in threads.OWN}
    printed = subprocess.run(
        [sys.executable, "-c", PRINTED], env=environment | own, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(own or {"GOMP_SPINCOUNT": threads.SPINS})


@given(
    st.dictionaries(st.integers(1, 40) | st.just(os.getpid()), st.integers(0, 7)),
    st.sets(st.integers(0, 7), min_size=1),
)
def test_threads_move_only_as_far_as_needed(computing: dict[int, int], cores: set[int]) -> None:
    moved = threads.moves(computing, cores)
    assert os.getpid() not in moved
    assert set(moved.values()) <= cores
    after = list((computing | moved).values())
    # As many cores as can be are in use, and whoever was alone on a core, or the first there, has stayed.
    assert len(set(after)) == min(len(computing), len(set(computing.values()) | cores))
    assert {computing[thread] for thread in computing if thread not in moved} == set(computing.values())


@LINUX
def test_a_thread_moves_away_and_may_go_anywhere_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    end = threading.Event()
    first, second = (threading.Thread(target=end.wait) for _ in range(2))
    first.start()
    second.start()
    used, told = [0.0], [True]

    def reported() -> list[tuple[int, tuple[float, int]]]:
        used[0] += told[0]
        return [(thread.native_id, (used[0], min(cores))) for thread in (first, second)]

    monkeypatch.setattr(threads, "_threads", reported)
    threads.keep_apart.__wrapped__()
    try:
        wait_for(lambda: len(os.sched_getaffinity(second.native_id)) == 1)
        assert os.sched_getaffinity(second.native_id).isdisjoint({min(cores)})
        assert os.sched_getaffinity(first.native_id) == cores
        told[0] = False
        wait_for(lambda: os.sched_getaffinity(second.native_id) == cores)
    finally:
        end.set()
