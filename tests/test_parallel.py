"""Work on all cores: results in order, whatever they are made of, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.parallel import ordered


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
    work = ordered(results, range(1_000))
    next(work)
    assert multiprocessing.active_children() != []
    work.close()
    assert multiprocessing.active_children() == []
    assert list(folder.iterdir()) == []


def test_results_arrive_where_no_file_can_be_written(folder):
    code = "from tests.test_parallel import *; print(sum(found['array'].sum() for found in ordered(results, range(9))))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(folder)},
        cwd=Path(__file__).parents[1],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == sum(results(number)["array"].sum() for number in range(9))
    assert list(folder.iterdir()) == []
