"""Work on all cores: results in order, whatever they are made of, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.core.parallel import chunks, ordered


def results(number: int) -> dict:
    """Return arrays and tables, empty and large ones, beside plain values."""
    values = np.arange(number * 1_000)
    batch = pa.record_batch({"text": [str(number)] * number, "image": [bytes(number)] * number})
    return {"number": number, "array": values, "batch": batch, "nothing": np.empty(0)}


def plain(number: int) -> int:
    return number * number


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_results_come_in_order_and_can_be_changed(folder):
    for number, found in enumerate(ordered(results, range(20))):
        assert found["number"] == number
        assert found["batch"] == results(number)["batch"]
        found["array"] += 1
        assert np.array_equal(found["array"], results(number)["array"] + 1)
        assert len(found["nothing"]) == 0
    assert list(folder.iterdir()) == []


def test_a_result_outlives_the_work(folder):
    kept = list(ordered(results, range(9)))
    assert [len(found["batch"]) for found in kept] == list(range(9))
    assert list(ordered(plain, range(100))) == [number * number for number in range(100)]


def test_work_that_is_given_up_leaves_no_process_behind(folder):
    before = set(multiprocessing.active_children())
    work = ordered(results, range(1_000))
    next(work)
    assert set(multiprocessing.active_children()) > before
    work.close()
    assert set(multiprocessing.active_children()) == before
    assert list(folder.iterdir()) == []


def large(number):
    return bytes(1 << 26)


def test_work_that_is_given_up_in_the_middle_of_a_result_ends():
    before = set(multiprocessing.active_children())
    for _ in range(5):
        work = ordered(large, range(100), workers=2)
        next(work)
        work.close()
    assert set(multiprocessing.active_children()) == before


def test_a_worker_that_is_killed_in_the_middle_of_a_result_is_one_line():
    before = set(multiprocessing.active_children())
    for _ in range(3):
        work = ordered(large, range(100), workers=2)
        next(work)
        worker, *_ = set(multiprocessing.active_children()) - before
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="a worker process was killed"):
            deque(work, maxlen=0)
    assert set(multiprocessing.active_children()) == before


def test_results_arrive_where_no_file_can_be_written(folder):
    code = "from tests.test_parallel import *; print(sum(found['array'].sum() for found in ordered(results, range(9))))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],  # no compiled module is cut off
        env=os.environ | {"TMPDIR": str(folder)},
        cwd=Path(__file__).parents[1],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == sum(results(number)["array"].sum() for number in range(9))
    assert list(folder.iterdir()) == []


@given(st.lists(st.integers(0, 100)), st.integers(1, 6), st.integers(0, 120))
def test_chunks_keep_the_order_and_hold_no_more_than_they_may(costs: list[int], size: int, most: int):
    found = list(chunks(costs, size, int, most))
    assert list(chain(*found)) == costs
    assert all(len(chunk) == 1 or sum(chunk) <= most for chunk in found)
    # Each is as long as it may be.
    assert all(len(a) == size or sum(a) + b[0] > most for a, b in pairwise(found))
    if sum(costs) <= most:
        assert [len(chunk) for chunk in found[:-1]] == [size] * (len(found) - 1)


def test_a_full_chunk_is_there_before_the_next_item_is_read():
    items = iter(range(10))
    assert next(chunks(items, 3)) == [0, 1, 2]
    assert next(items) == 3


def began(folder: Path) -> int:
    """Return how many items are in work or were, whose number is the length of a file."""
    with (folder / "began").open("ab") as file:
        file.write(b"x")
    time.sleep(0.02)
    return (folder / "began").stat().st_size


@pytest.mark.parametrize(("memory", "in_work"), [(1.0, 1), (2.0, 2)])
def test_items_that_take_more_memory_than_there_is_wait(folder, memory, in_work):
    begun = ordered(began, [folder] * 8, workers=4, memory=memory, cost=lambda _: 10**9 - 1)
    # An item that begins sees those before it, which have ended, and at most as many as fit beside it.
    for number, seen in enumerate(begun, 1):
        assert seen <= number + in_work - 1


def test_an_item_that_is_larger_than_the_memory_is_worked_on_alone(folder):
    assert list(ordered(plain, range(5), workers=2, memory=1e-9, cost=lambda _: 10**9)) == [0, 1, 4, 9, 16]
