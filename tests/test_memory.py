"""The memory that images may take: a share of what the machine and its control groups leave, or a setting."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pipeline.core import memory
from pipeline.core.errors import UserError
from pipeline.core.parallel import fitting

UNLIMITED = 9_223_372_036_854_771_712  # as version 1 of control groups says


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 16 GB of free memory, without control groups."""
    free = psutil.virtual_memory()._replace(available=16 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(folder: Path, files: tuple[str, str], limit: object, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip((*files, "memory.stat"), (limit, used, stat), strict=True):
        (folder / name).write_text(f"{value}\n")


def test_a_setting_is_in_gigabytes_and_the_default_a_quarter(groups: Path) -> None:
    assert memory.budget(1.5, 1) == 1_500_000_000
    assert memory.budget(None, 16) == 4 * 10**9
    assert memory.budget(None, 2) == 1.5 * 10**9
    for wrong in (-1.0, float("nan")):
        with pytest.raises(UserError, match=r"^memory: found (-1\.0|nan), allowed: a number of GB$"):
            memory.budget(wrong, 1)


@pytest.mark.parametrize(
    ("own", "inner", "outer", "left"),
    [
        ("max", 10**9, "max", 16 * 10**9),
        (3 * 10**9, 10**9, "max", 2 * 10**9 + 7),
        (3 * 10**9, 10**9, 2 * 10**9, 10**9 + 7),
        (10**9, 3 * 10**9, "max", 0),
    ],
    ids=["no limit", "own limit", "limit of a group around", "limit exceeded"],
)
def test_control_groups_of_version_2(groups: Path, own: object, inner: int, outer: object, left: int) -> None:
    (groups / "own").write_text("0::/user.slice/session\n")
    files = ("memory.max", "memory.current")
    write(groups / "groups/user.slice", files, outer, 10**9, "inactive_file 7")
    write(groups / "groups/user.slice/session", files, own, inner, "anon 5\ninactive_file 7")
    assert memory.available() == left


def test_control_groups_of_version_1_in_a_container(groups: Path) -> None:
    # The container sees its own group as the root, and is told the group's name outside.
    (groups / "own").write_text("12:cpu,cpuacct:/docker/1\n11:memory:/docker/1\n0::/\n")
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    write(groups / "groups/memory", files, UNLIMITED, 10**9, "total_inactive_file 0")
    assert memory.available() == 16 * 10**9
    write(groups / "groups/memory", files, 2 * 10**9, 10**9, "inactive_file 1\ntotal_inactive_file 9")
    assert memory.available() == 10**9 + 9


def test_no_more_workers_are_started_than_have_room(groups: Path) -> None:
    assert fitting(8, None, 700_000_000) == 5
    assert fitting(2, None, 700_000_000) == 2
    assert fitting(8, 0.001, 700_000_000) == 1
