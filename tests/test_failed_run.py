"""A failed run costs nothing: what an earlier run made is there afterwards, byte for byte."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc import cli as dvc
from ruamel.yaml import YAML

from pipeline import params
from pipeline.core import ending, last_run
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.stages import check, evaluate, train
from pipeline.tables import paths
from scripts.documentation import stages
from tests import doc_commands, forked, toy

ROOT = Path(__file__).parents[1]
OUTPUTS = [
    path.replace("${item.dataset}", "sample")
    for stage in stages.chain().values()
    for path in stages.outputs(stage)
]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose last run is committed. Its faces and labels are real, so that it can train; the rest is text."""
    folder = tmp_path_factory.mktemp("failed") / "project"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "data/exclude"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    toy.write(folder)
    for name in OUTPUTS:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.write_text(json.dumps({"written by": name}))
            else:
                path.mkdir()
                (path / "a.txt").write_text(name)
    (folder / paths.CLASSIFIER).write_bytes(bytes(2 * last_run.COPIED_BYTES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder.parent / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "test")
            patch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
        with contextlib.chdir(folder):
            check.run(params.load())
            git("init", "-q")
            assert dvc.main(["init", "-q"]) == 0
            assert dvc.main(["commit", "-q", "--force"]) == 0
            git("add", ".")
            git("commit", "-qm", "Run")
        yield folder


@pytest.fixture
def run_before(committed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The hashes of what the last run wrote, in its project; afterwards it is as it was."""
    monkeypatch.chdir(committed)
    yield results()
    git("checkout", "-q", ".")
    assert dvc.main(["checkout", "-q", "--force"]) == 0


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True)


def results() -> dict[str, str]:
    """Return the MD5 of each file of the outputs."""
    files = [file for name in OUTPUTS for file in (Path(name), *Path(name).rglob("*")) if file.is_file()]
    return {str(file): hashlib.md5(file.read_bytes()).hexdigest() for file in files}


# A value whose dependency DVC would miss, and a data set for which DVC removes the tables of the last one.
REFUSED = {
    "augment=mixcutt": "params.yaml: augment: found 'mixcutt', allowed: one of cutmix, cutout,",
    "datasets=[table]": "data/raw/table: found nothing, expected: the data set's folder, an archive of it,",
    "labels.exclude=data/exclude/a.csv": "params.yaml: labels.exclude: found data/exclude/a.csv, which is not there,",
    "labels.exclude=a.csv": "params.yaml: labels.exclude: found 'a.csv', allowed: null or a CSV file in data/exclude/,",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_refused_value_costs_nothing(
    run_before: dict[str, str], capfd: pytest.CaptureFixture[str], change: str
) -> None:
    assert dvc.main(["exp", "run", "-S", change]) != 0
    assert results() == run_before
    # The settings stay, and git sees them, also if they have the size of the committed ones.
    assert subprocess.check_output(["git", "diff", "--name-only"], text=True).split() == ["params.yaml"]
    [said] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fer: ")]
    assert REFUSED[change] in said


def test_raw_data_that_has_gone_costs_nothing(
    run_before: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    raw = "data/raw/sample"
    shutil.rmtree(raw)
    assert dvc.main(["repro", "--single-item", "ingest@sample"]) != 0
    assert results() == {file: md5 for file, md5 in run_before.items() if not file.startswith(raw)}
    # It is DVC that finds the folder missing; it logs why with the error that it raises.
    assert raw in str(caplog.records[-1].exc_info[1].__cause__)


def test_dvc_sees_a_change_of_a_list_of_images_to_leave_out(
    run_before: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> str:
        assert dvc.main(["status", "label"]) == 0
        return capsys.readouterr().out

    assert "up to date" in status()
    listed = Path("data/exclude/wrong.csv")
    listed.write_text("id\n")
    once = status()
    assert re.search(r"modified:\s+data/exclude", once), once
    assert dvc.main(["commit", "-q", "--force", "label"]) == 0
    assert "up to date" in status()
    listed.write_text("id\ntoy/000\n")
    assert re.search(r"modified:\s+data/exclude", status())
    listed.unlink()


def started(*words: str) -> subprocess.Popen[bytes]:
    """Start a long training in DVC, in a group of processes of its own; return once it has finished an epoch."""
    shutil.rmtree("plots/live", ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    curve = Path("plots/live/plots/metrics/train/loss.tsv")
    while not curve.exists():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.05)
    return process


def test_a_training_that_is_stopped_costs_nothing(
    run_before: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    process = started("exp", "run", "-S", "train.epochs=5000")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode
    assert results() == run_before
    assert os.stat(paths.CLASSIFIER).st_nlink == 2  # too large for a copy

    process = started("repro", "--single-item", "train")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert results() != run_before
    # The page's way back. It leads to the last commit, of which `git` and `dvc` know no difference.
    block = next(
        text for language, text in doc_commands.blocks("docs/troubleshooting.md") if language == "sh"
    )
    done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results() == run_before
    assert dvc.main(["status"]) == 0
    assert "Data and pipelines are up to date." in capfd.readouterr().out
    assert subprocess.check_output(["git", "status", "--porcelain"]) == b""


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with DVC's lock and cache, whose outputs are gone; return the cache."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / ".dvc/cache/files/md5"

    def stored(content: bytes, end: str = "") -> str:
        md5 = hashlib.md5(content).hexdigest()
        (cache / md5[:2]).mkdir(parents=True, exist_ok=True)
        (cache / md5[:2] / f"{md5[2:]}{end}").write_bytes(content)
        return md5 + end

    listing = [
        {"md5": stored(b"a"), "relpath": "a.csv"},
        {"md5": stored(bytes(2**21)), "relpath": "in/b.bin"},
    ]
    outs = {
        "align@sample": {"data/aligned/sample.arrow": stored(b"s")},
        "align@table": {"data/aligned/table.arrow": stored(b"t")},
        "label": {
            "plots/label": stored(json.dumps(listing).encode(), ".dir"),
            "data/labels.parquet": "0" * 32,
        },
    }
    stage = {name: {"outs": [{"path": p, "md5": m} for p, m in of.items()]} for name, of in outs.items()}
    stage["label"]["params"] = {"params.yaml": {"datasets": ["sample"]}}  # type: ignore[assignment]
    YAML().dump({"stages": stage}, tmp_path / "dvc.lock")
    return cache


def test_what_is_gone_of_the_last_run_is_put_back(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last_run.put_back()
    assert Path("data/aligned/sample.arrow").read_bytes() == b"s"
    assert not Path("data/aligned/table.arrow").exists(), "the last run had no such data set"
    assert not paths.LABELS.exists(), "it is not in the cache"
    small, large = Path("plots/label/a.csv"), Path("plots/label/in/b.bin")
    assert (small.read_bytes(), large.read_bytes()) == (b"a", bytes(2**21))
    assert (small.stat().st_nlink, large.stat().st_nlink) == (1, 2)

    monkeypatch.setenv("DVC_STAGE", "align@table")
    small.write_bytes(b"mine")
    last_run.put_back()
    assert Path("data/aligned/table.arrow").read_bytes() == b"t", "the stage that failed had made it once"
    assert small.read_bytes() == b"mine", "what is there stays"


def fail_slowly(folder: Path) -> None:
    """Run a stage that waits, and puts back what is gone once it is told to end; both take a while."""
    ending.end_orderly()
    original = last_run._put_back

    def slow(*given: Any) -> None:
        time.sleep(0.2)
        original(*given)

    last_run._put_back = slow
    with contextlib.chdir(folder), last_run.kept_on_failure():
        (folder / "begun").touch()
        time.sleep(60)


@pytest.mark.parametrize(
    "signals", [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM"), ("SIGINT", "SIGHUP")]
)
def test_a_second_signal_costs_nothing(
    locked: Path, monkeypatch: pytest.MonkeyPatch, signals: tuple[str, str]
) -> None:
    monkeypatch.setenv("DVC_STAGE", "label")
    process = forked.start(fail_slowly, Path.cwd())
    while not Path("begun").exists():
        assert process.is_alive()
        time.sleep(0.01)
    for name in signals:
        os.kill(process.pid or 0, getattr(signal, name))
        time.sleep(0.03)
    process.join()
    assert process.exitcode
    assert Path("data/aligned/sample.arrow").read_bytes() == b"s"
    assert Path("plots/label/in/b.bin").read_bytes() == bytes(2**21)


def test_a_cache_on_another_disk_is_linked(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "hardlink_to", elsewhere)
    last_run.put_back()
    large = Path("plots/label/in/b.bin")
    assert large.resolve().is_relative_to(locked)
    assert large.read_bytes() == bytes(2**21)


def test_metrics_that_git_has_alone_are_put_back(locked: Path) -> None:
    content = b'{"accuracy": 0.5}'
    Path("metrics").mkdir()
    for name in ("label", "train"):
        Path(f"metrics/{name}.json").write_bytes(content)
    git("init", "-q")
    git("add", "metrics")
    git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "Run")
    shutil.rmtree("metrics")
    md5 = {"label": hashlib.md5(content).hexdigest(), "train": "0" * 32}
    outs = [{"path": f"metrics/{name}.json", "md5": md5[name]} for name in md5]
    YAML().dump({"stages": {"label": {"outs": outs}}}, Path("dvc.lock"))
    last_run.put_back()
    assert Path("metrics/label.json").read_bytes() == content
    assert not Path("metrics/train.json").exists(), "git has another one"


STAGES = {"train": train, "evaluate": evaluate}


def test_no_output_is_replaced_before_all_are_ready(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write(project, **{"train.epochs": 1})
    monkeypatch.setattr(
        evaluate, "_draw", lambda p, folder, *_: write_json(folder / "seed.json", {"": p.seed})
    )
    for stage in STAGES.values():
        stage.run(params.load())
    before = results()
    toy.set_params(project, seed=2)

    def fail(path: Path, value: object) -> None:
        raise UserError(f"{path}: cannot be written: no space left")

    for stage in STAGES.values():
        monkeypatch.setattr(stage, "write_json", fail)
        with pytest.raises(UserError, match=r"metrics/.*no space left"):
            stage.run(params.load())
        assert results() == before
    assert not [path for folder in ("data", "models", "plots") for path in Path(folder).rglob(".*")]


def test_the_detector_of_a_filter_is_checked_before_dvc_removes_anything(project: Path) -> None:
    toy.write(project, gan="repeat", **{"gans.classes": ["happiness"], "gans.filters.detector": True})
    toy.set_params(project, **{"align.mode": "none", "align.weights": "missing.onnx"})
    with pytest.raises(UserError, match=r"align\.weights: found 'missing\.onnx'"):
        check.run(params.load())
    toy.set_params(project, **{"gans.filters.detector": False})
    check.run(params.load())
