"""`fer doctor`: the finding and the remedy of every check on a faulty machine or project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from email.message import Message
from functools import partial
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.doctor import environment
from pipeline.doctor import project as checks
from pipeline.faces.detectors import scrfd
from pipeline.tables import inventory
from pipeline.tables.paths import DETECTORS
from tests import toy

ROOT = Path(__file__).parents[1]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def fit(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project and a machine without faults."""
    (project / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", project / ".dvc/config")
    subprocess.run(["git", "init", "-q"], check=True)
    for name, value in {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "GIT_AUTHOR_EMAIL": "me@example.org",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment, "DRIVER", project / "no-driver")
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"] * 2})
    toy.set_params(project, **{"align.mode": "none"})
    return project


def doctor() -> Result:
    return CliRunner().invoke(app, ["doctor"])


def said(result: Result, state: str) -> str:
    """Return the findings of a level with their remedies."""
    lines = re.sub(r"\n {20,}(?!->)", " ", result.output).splitlines()
    found = [
        f"{line[9:]} {after.strip() if after.lstrip().startswith('->') else ''}".strip()
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith(state)
    ]
    return "\n".join(found)


def test_all_is_well(fit: Path) -> None:
    result = doctor()
    assert said(result, "fault") == ""
    assert result.exit_code == 0, result.output
    ok = said(result, "ok")
    for words in (
        "Python     3.",
        "packages, all as new",
        "cv2 ",
        "torch ",
        " cores, ",
        "none needed",
        "no remote",
    ):
        assert words in ok


def test_the_checks_of_the_machine_need_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctor()
    assert result.exit_code == 1
    assert "parameters params.yaml: not found" in said(result, "fault")
    assert "torch " in said(result, "ok")


def test_a_wrong_parameter_is_one_check_among_others(fit: Path) -> None:
    toy.set_params(fit, **{"train.epochs": -1})
    result = doctor()
    assert result.exit_code == 1
    assert "params.yaml: train.epochs: found -1, allowed" in said(result, "fault")
    assert "cv2 " in said(result, "ok")


def test_what_is_broken_is_named_and_the_rest_is_checked(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = doctor()
    assert result.exit_code == 1
    assert "torch cannot be loaded: import of torch halted" in said(result, "fault")
    assert "cv2 cannot be loaded" in said(result, "fault")
    assert "git and DVC" in said(result, "ok")


PYPROJECT = """
[project]
requires-python = ">=3.99"
dependencies = ["numpy>=99", "nosuch>=1", "typer>=0.1"]
[project.optional-dependencies]
some = ["gone>=1"]
other = ["dvc>=3"]
"""


def test_packages(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fit / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.setattr(environment, "SOURCE", fit / "pyproject.toml")
    two = ["opencv-python-headless", "opencv-python"]
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"cv2": two})
    result = doctor()
    assert result.exit_code == 1
    faults = said(result, "fault").splitlines()
    assert "needed: >=3.99" in faults[0]
    assert faults[1].startswith(
        f"packages   numpy {metadata.version('numpy')}, needed: >=99 -> scripts/install.sh"
    )
    assert faults[2].startswith("packages   nosuch is not installed, needed: >=1")
    assert "opencv-python, opencv-python-headless, which overwrite each other's files" in faults[3]
    assert "pip uninstall opencv-python opencv-python-headless" in faults[3]
    assert "extras installed: other; not: some" in said(result, "ok")


def test_a_package_that_misses_a_library_of_the_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2/__init__.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file')"
    )
    run = partial(
        subprocess.run, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    )
    done = run([sys.executable, "-m", "pipeline", "predict", "portrait.jpg"])
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(
        "fer: a package cannot be loaded: libGL.so.1: cannot open shared object file; `fer doctor`"
    )
    finding = "from pipeline.doctor import environment; print(*environment.opencv())"
    said = run([sys.executable, "-c", finding]).stdout
    assert "cv2 cannot be loaded: libGL.so.1" in said
    assert "pip install --force-reinstall opencv-python-headless" in said


def test_packages_of_an_installed_wheel(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = Message()
    about["Requires-Python"] = ">=3.11"
    about["Provides-Extra"] = "some"
    about["Provides-Extra"] = "other"
    monkeypatch.setattr(environment, "SOURCE", fit / "pyproject.toml")
    monkeypatch.setattr(metadata, "metadata", lambda name: about)
    needed = ["nosuch>=1", "typer>=0.1", 'gone>=1; extra == "some"', 'dvc>=3; extra == "other"']
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    result = doctor()
    assert said(result, "fault").startswith("packages   nosuch is not installed, needed: >=1")
    assert "extras installed: other; not: some" in said(result, "ok")


def test_a_gpu(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name, answer in {
        "is_available": True,
        "device_count": 1,
        "get_device_name": "Tesla T4",
        "mem_get_info": (15 * 10**9, 16 * 10**9),
        "is_bf16_supported": False,  # emulated there, and slow
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    (fit / "no-driver").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 UTC 2023\n"
    )
    found = said(doctor(), "ok")
    assert "on Tesla T4, 15 GB of 16 GB free, driver 535.129.03; precision auto is float32" in found


def test_another_environment_on_the_path(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = fit / "bin"
    other.mkdir()
    (other / "python").write_text("#!/bin/sh\n")
    (other / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/usr/bin:/bin")
    result = doctor()
    assert f"`python` is {other}/python, of another environment" in said(result, "warning")
    assert "no dvc on the path" in said(result, "fault")
    assert str(Path(sys.executable).parent) in said(result, "fault")


def test_a_driver_without_a_gpu_that_torch_sees(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021\nGCC version:\n"
    (fit / "no-driver").write_text(text)
    result = doctor()
    assert "there is an NVIDIA driver (470.82.01), and torch sees no GPU" in said(result, "warning")
    assert result.exit_code == 0
    toy.set_params(fit, **{"train.device": "cuda"})
    result = doctor()
    assert "train.device: cuda, and torch sees no GPU -> train.device: auto" in said(result, "fault")


def test_little_memory_and_little_disk(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 0, 3 * 10**9))
    monkeypatch.setattr(inventory, "raw_data", lambda name: inventory.RawData("folder", 100_000, 2 * 10**9))
    result = doctor()
    assert result.exit_code == 0
    assert "1 GB of" in said(result, "warning")
    # Images and faces of 48 x 48 pixels, both also in the cache: 2 x (2 GB + 100,000 x 2,304 bytes).
    assert f"{fit}: 3 GB free, and tables and their copies in DVC's cache may take 4.46 GB" in said(
        result, "warning"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 0, 10**8))
    assert f"disk       {fit}: 100 MB free -> make room" in said(doctor(), "fault")


def test_raw_data(fit: Path) -> None:
    toy.set_params(fit, datasets=["ferplus", "rafdb", "folder", "table"])
    (fit / "data/raw/folder").mkdir(parents=True)
    (fit / "data/raw/rafdb").symlink_to("nowhere")
    (fit / "elsewhere").mkdir()
    (fit / "elsewhere/labels.csv").write_text("image,label\n")
    (fit / "data/raw/table").symlink_to(fit / "elsewhere")
    result = doctor()
    faults = said(result, "fault").splitlines()
    assert len(faults) == 3
    assert faults[0].startswith("data       data/raw/ferplus: found nothing, expected: the data set's folder")
    assert faults[0].endswith("-> ln -s /where/you/keep/ferplus data/raw/ferplus, or dvc pull")
    assert "data/raw/rafdb: found a link to nowhere, which is not there" in faults[1]
    assert "data/raw/folder: an empty folder" in faults[2]
    assert f"data/raw/table: folder, linked to {fit / 'elsewhere'}, 1 files, 12 bytes" in said(result, "ok")
    (fit / "data/ingested").mkdir()
    (fit / "data/ingested/ferplus.parquet").touch()
    assert "data/ingested/ferplus.parquet is there -> dvc repro --allow-missing" in said(doctor(), "warning")


def test_weights_are_looked_at_and_never_downloaded(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.faces import weights

    monkeypatch.setattr(weights, "_download", lambda *_: pytest.fail("a download"))
    monkeypatch.setattr(weights, "_insightface", lambda *_: pytest.fail("a download"))
    monkeypatch.setenv("HOME", str(fit))
    toy.set_params(fit, **{"align.mode": "five_point"})
    result = doctor()
    assert "models/detector/scrfd.onnx is not downloaded yet: scrfd 0.3.0 for scrfd" in said(
        result, "warning"
    )
    assert result.exit_code == 0
    toy.set_params(fit, **{"align.weights": "buffalo_l"})
    assert "buffalo_l is not downloaded yet: insightface's pack" in said(doctor(), "warning")
    toy.set_params(fit, **{"align.weights": "no/such.onnx"})
    assert "align.weights: found 'no/such.onnx', which is no file" in said(doctor(), "fault")
    toy.set_params(fit, **{"align.weights": "package"})
    (fit / DETECTORS).mkdir(parents=True)
    (fit / DETECTORS / scrfd.PACKAGED.file).write_bytes(b"another")
    assert f"allowed: {scrfd.PACKAGED.sha256}; delete the file" in said(doctor(), "fault")


def test_extras_that_are_chosen(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    toy.set_params(fit, engine="ray")
    config = (fit / ".dvc/config").read_text().replace("[core]\n", "[core]\n    remote = storage\n")
    (fit / ".dvc/config").write_text(config + "['remote \"storage\"']\n    url = s3://faces/fer\n")
    result = doctor()
    assert ".dvc/config, with the remote, is not committed -> git commit .dvc/config" in said(
        result, "warning"
    )
    faults = said(result, "fault")
    assert "engine: ray, which is not installed -> pip install ray" in faults
    assert "needs dvc-s3, which is not installed -> pip install dvc-s3" in faults


@pytest.mark.parametrize(
    ("config", "state", "words"),
    [
        ("[core]\n", "warning", "DVC sends statistics of its use -> dvc config core.analytics false"),
        ("[core]\nremote = there\n", "fault", "core.remote is there, which is no remote"),
        ("[core\n", "fault", ".dvc/config: "),
        (None, "fault", "not a DVC repository -> dvc init"),
    ],
)
def test_the_repository(fit: Path, config: str | None, state: str, words: str) -> None:
    if config is None:
        shutil.rmtree(fit / ".dvc")
    else:
        (fit / ".dvc/config").write_text(config)
    result = doctor()
    assert words in said(result, state)
    assert "cannot be checked" not in result.output


def test_a_second_worktree_shares_the_cache(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "me")
    (fit / ".dvc/cache").mkdir()
    author = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    for words in (
        ("add", ".dvc/config"),
        (*author, "commit", "-qm", "a"),
        ("worktree", "add", "-q", "other"),
    ):
        subprocess.run(["git", *words], check=True)
    monkeypatch.chdir(fit / "other")
    [found] = [of for of in checks.repository() if "second worktree" in of.text]
    assert found.remedy == f"dvc cache dir --local {fit / '.dvc/cache'}"
    (fit / "other/.dvc/config.local").write_text("[cache]\n    dir = ../../.dvc/cache\n")
    assert not any("second worktree" in of.text for of in checks.repository())


@pytest.mark.parametrize(
    ("file", "then"),
    [
        (".dvc/tmp/exps/celery/broker/control/celery.exchange", ", then dvc queue start"),
        (".dvc/tmp/rwlock", ""),
    ],
)
def test_a_damaged_file_of_dvc(fit: Path, file: str, then: str) -> None:
    (fit / file).parent.mkdir(parents=True, exist_ok=True)
    (fit / file).write_text('[["celery", "')
    assert f"{file}: damaged, and DVC stops at it -> rm '{file}'{then}" in said(doctor(), "fault")


def test_no_repository(fit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(fit / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(fit.parent))
    assert "not in a git repository -> git init" in said(doctor(), "fault")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "no git on the path" in said(doctor(), "fault")
