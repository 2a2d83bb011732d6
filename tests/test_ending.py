"""Processes that are killed: none outlives its parent, no lock stays, and what they leave behind is removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.core import ending, scratch
from pipeline.core.files import replacing, replacing_folder, write_json
from pipeline.core.locks import locked
from pipeline.core.parallel import ordered
from pipeline.core.scratch import temporary_folder
from tests import forked

BOTH = [signal.SIGKILL, signal.SIGTERM]


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def grind(path: Path) -> None:
    """Spend minutes in one call of a library."""
    path.write_text(str(os.getpid()))
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def grind_in_workers(folder: Path) -> None:
    ending.end_orderly()
    with locked(folder / "lock"), temporary_folder():
        list(ordered(grind, [folder / "first", folder / "second", folder / "third"], workers=2))


@pytest.mark.parametrize("number", BOTH)
def test_workers_end_with_their_parent_in_the_middle_of_a_long_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "lock").touch()
    parent = forked.start(grind_in_workers, tmp_path)
    numbers = [tmp_path / "first", tmp_path / "second"]
    wait_for(lambda: all(file.exists() and file.read_text() for file in numbers))
    os.kill(parent.pid, number)
    parent.join(30)
    assert parent.exitcode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    with locked(tmp_path / "lock"):  # no worker holds it, not even one that has not ended yet
        pass
    wait_for(lambda: not any(alive(int(file.read_text())) for file in numbers))
    assert len(list(tmp_path.glob("fer-*"))) == (number == signal.SIGKILL)


# What a stage does before its imports, and a program that runs a stage.
STAGE = """
import os, threading, time
from pipeline.core.ending import stage_ends_with_launcher
stage_ends_with_launcher()
print(os.getpid(), threading.active_count(), flush=True)
time.sleep(60)
"""
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
# As DVC does, with a shell that stays.
IN_SHELL = """import shlex, subprocess, sys
subprocess.run(["/bin/sh", "-c", f"{shlex.join([sys.executable, '-c', sys.argv[1]])}; exit"])"""


@pytest.mark.parametrize("launcher", [LAUNCHER, IN_SHELL])
@pytest.mark.parametrize("variables", [{"DVC_STAGE": "train", "SHELL": ""}, {}])
def test_a_stage_ends_with_dvc_and_with_nobody_else(variables: dict[str, str], launcher: str) -> None:
    words = [sys.executable, "-c", launcher, STAGE]
    environment = os.environ | {"PYTHONPATH": str(forked.ROOT)} | variables
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout is not None
        stage, threads = map(int, dvc.stdout.readline().split())
        dvc.kill()
        if variables:
            wait_for(lambda: not alive(stage))
        else:
            assert threads == 1
            os.kill(stage, signal.SIGKILL)


def test_a_stage_whose_launcher_ended_before_it_looked_ends_too() -> None:
    environment = os.environ | {"PYTHONPATH": str(forked.ROOT), ending.LAUNCHER: "1"}
    assert subprocess.run([sys.executable, "-c", STAGE], env=environment).returncode == -signal.SIGTERM


def hold(folder: Path, kind: str) -> None:
    """Begin to write a file, a folder, or a temporary file, and wait."""
    with contextlib.ExitStack() as stack:
        if kind == "temporary":
            path = stack.enter_context(temporary_folder()) / "half"
        elif kind == "file":
            path = stack.enter_context(replacing(folder / "a.json"))
        else:
            path = stack.enter_context(replacing_folder(folder / "a")) / "half"
        path.write_text("half")
        (folder / "holds").touch()
        time.sleep(60)


@pytest.mark.parametrize("kind", ["temporary", "file", "folder"])
def test_what_a_killed_process_was_writing_goes_and_a_live_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    users = [tmp_path / name for name in ("fer-mine", "fer-abcdefgh.part", ".fer-abcdefgh.part")]
    for path in users:
        path.mkdir()
        (path / "own").touch()
    (tmp_path / "b").mkdir()

    def write_another() -> list[str]:
        scratch._remove_abandoned.cache_clear()  # as a new process
        if kind == "temporary":
            with temporary_folder():
                pass
        else:
            write_json(tmp_path / "b.json", {})
        return [str(path) for path in tmp_path.rglob("*") if path.name in ("half", "a.json")]

    process = forked.start(hold, tmp_path, kind)
    wait_for((tmp_path / "holds").exists)
    assert len(write_another()) == 1
    process.kill()
    process.join()
    assert write_another() == []
    assert [list(path.iterdir()) for path in users] == [[path / "own"] for path in users]


@pytest.mark.parametrize("variables", [{}, {"TMPDIR": "own"}, {"TMPDIR": "nowhere", "TEMP": "own"}])
def test_the_temporary_folder_is_pythons_and_nothing_is_written_to_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    (tmp_path / "own").mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setattr(tempfile, "tempdir", None)
    expected = tempfile.gettempdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", None)  # which would write a file
    scratch.choose_temporary_folder()
    assert tempfile.gettempdir() == expected


def replace_and_die(folder: Path) -> None:
    rename, renamed = Path.rename, []

    def deadly(path: Path, target: Path) -> Path:
        if renamed:
            os.kill(os.getpid(), signal.SIGKILL)
        renamed.append(path)
        return rename(path, target)

    Path.rename = deadly  # type: ignore[method-assign]
    with replacing_folder(folder) as new:
        (new / "new").touch()


def test_a_folder_whose_replacement_was_killed_between_two_renames_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/earlier").touch()
    forked.run(replace_and_die, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    write_json(tmp_path / "b.json", {"next": "process"})
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "a",
        "a/earlier",
        "b.json",
    ]
    assert json.loads((tmp_path / "b.json").read_text())
