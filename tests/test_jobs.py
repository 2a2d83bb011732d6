"""`fer recipe run --on`: the runs of a recipe as jobs, through submitit's executor for this machine."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.core import git
from pipeline.experiments.jobs import FOLDER
from tests.test_recipes import TINY, commit, invoke, project, refused, repository, sweep, until, write  # noqa: F401

ROWS = ("none", "mixup", "cutmix", "fmix")


@pytest.fixture(autouse=True)
def _logs(project: Path) -> Iterator[None]:  # noqa: F811
    """Print the jobs' logs, which pytest shows of a test that fails."""
    yield
    for log in sorted(FOLDER.glob("*/*_log.out")):
        print(f"\n{log.parent.name}\n{log.read_text()}")


def job_of(row: str) -> list[psutil.Process]:
    """Return the processes of a row's job: two of submitit's, DVC's, that of a shell if it stays, and the stage."""
    stage = psutil.Process(int(Path(f"runs-{row}-1").read_text()))
    parents = stage.parents()
    commands = [parent.cmdline() for parent in parents]
    first = next(i for i, command in enumerate(commands) if "submitit.local._local" in command)
    return [*reversed(parents[: first + 1]), stage]


def test_four_rows_run_as_jobs_and_go_on_after_kills(repository: Path) -> None:  # noqa: F811
    recipe = yaml.safe_load(Path("recipes/tiny.yaml").read_text())
    write(recipe | {"variants": {row: {"params": {"augment": row}} for row in ROWS}, "runs": 1})
    commit()
    holds = {row: Path(f"hold-{row}-1") for row in ROWS}
    for hold in holds.values():
        hold.touch()
    params_file = Path("params.yaml").read_bytes()

    printed = invoke("run", "--on", "local")
    assert len(re.findall(r"tiny-short-\w+-s1: submitted; local job \d+, log \S+\n", printed)) == 4
    assert Path("params.yaml").read_bytes() == params_file
    assert not git.uncommitted()
    until(lambda: all(Path(f"runs-{row}-1").exists() for row in ROWS))
    assert invoke("status").startswith("0 done, 4 running\n")
    assert "submitted" not in invoke("run", "--on", "local")

    # A job is killed as a whole, a stage alone, and a third job is told to make room, which starts it anew.
    for process in job_of("none"):
        process.kill()
    job_of("mixup")[-1].kill()
    until(lambda: "1 failed, 1 interrupted" in invoke("status"))
    shown = " ".join(invoke("status").split())
    assert "tiny-short-mixup-s1 failed score: killed by signal 9 (SIGKILL)" in shown
    assert re.search(r"tiny-short-none-s1 interrupted local job \d+ ended early: ", shown)
    _, submitits, *_, stage = job_of("cutmix")
    submitits.send_signal(signal.SIGUSR2)
    until(lambda: int(Path("runs-cutmix-1").read_text()) != stage.pid)
    for hold in holds.values():
        hold.unlink()

    printed = invoke("run", "--on", "local", "--wait")
    words = " ".join(printed.split())
    assert re.search(r"none-s1: submitted again: local job \d+ ended early: .*?; it goes on from the", words)
    assert re.search(r"mixup-s1: submitted again: score: killed by signal 9 \(SIGKILL\); it goes on", words)
    assert "4 done" in printed
    for row, accuracy in zip(ROWS, ("0.1010", "0.1110", "0.1010", "0.1010"), strict=True):
        assert re.search(rf"\| {row} +\| 1 +\| {accuracy} +\|", printed)
    assert printed[printed.index("Tiny (nowhere), short form") :] == invoke("table")

    resumed = {row: seeds[1]["valid"]["resumed"] for row, seeds in sweep().results().evaluations.items()}
    assert resumed == {"none": 1, "mixup": 1, "cutmix": 1, "fmix": 0}
    assert not git.output("for-each-ref", "refs/fer")
    assert not list(FOLDER.glob("*/tmp*"))
    assert not git.uncommitted()
    assert "Running stage 'score'" in (FOLDER / "tiny-short-fmix-s1/tiny-short-fmix-s1.out").read_text()


# Stands for Slurm: what `squeue` lists is in a file, and `sbatch` keeps the script.
SLURM = {
    "sbatch": 'cp "$1" "$0.sh"; echo Submitted batch job 7',
    "srun": "",
    "squeue": 'cat "$0.txt"',
}


@pytest.fixture
def slurm(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder at the front of the PATH with programs in the place of Slurm's."""
    (folder := project / "bin").mkdir()
    for name, text in SLURM.items():
        replace(folder / name, text)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def replace(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_slurm_says_what_a_job_does(repository: Path, slurm: Path) -> None:  # noqa: F811
    name, listed = "tiny-short-plain-s1", slurm / "squeue.txt"
    one = ("--variant", "plain", "--seeds", "1", "--on", "slurm")
    settings = [
        word for given in ("time=90", "partition=gpu", "gpus_per_node=1") for word in ("--slurm", given)
    ]
    printed = invoke("run", *one, *settings)
    log = FOLDER / name / f"{name}.out"
    assert f"{name}: submitted; slurm job 7, log {log}\n" in printed
    script = (slurm / "sbatch.sh").read_text()
    for option in ("time=90", "partition=gpu", "gpus-per-node=1", f"job-name={name}"):
        assert f"#SBATCH --{option}\n" in script
    listed.write_text(f"6 RUNNING other\n7 PENDING {name}\n")
    assert invoke("status") == "0 done, 1 waiting\n"
    assert "submitted" not in invoke("run", *one, *settings)
    listed.write_text(f"7 RUNNING {name}\n")
    assert invoke("status").startswith("0 done, 1 running\n")
    listed.write_text("")
    (FOLDER / name / "7_0_log.out").write_text(
        "error: *** JOB 7 ON a CANCELLED AT 1:00 DUE TO TIME LIMIT ***\nsrun\n"
    )
    assert "interrupted  slurm job 7 was cancelled due to time limit" in invoke("status")
    assert "did not finish: tiny-short-plain-s1: slurm job 7" in refused("run", *one, *settings, "--wait")

    replace(slurm / "sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1")
    assert refused("run", *one, *settings) == f"{name}: sbatch: error: no such partition"
    assert not git.output("for-each-ref", "refs/fer")
    assert invoke("status") == "0 done\n"


def test_what_cannot_be_submitted_is_one_line(
    project: Path,  # noqa: F811
    slurm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(TINY)
    assert refused("run", "--slurm", "time=5") == (
        "--slurm: found time=5, allowed: only together with --on slurm"
    )
    assert refused("run", "--on", "local", "--jobs", "2").startswith("--jobs: found 2, allowed: only without")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(project))
        assert refused("run", "--on", "slurm") == (
            "sbatch: not found; run this on a machine that submits jobs to Slurm"
        )
    for wrong in ("partitio=gpu", "partition", "nodes=2"):
        told = refused("run", "--on", "slurm", "--slurm", "time=5", "--slurm", wrong)
        assert told.startswith(f"--slurm: found {wrong}, allowed: KEY=VALUE with one of account, comment, ")
        assert ", partition, " in told
    for given, found in (("partition=gpu", "none"), ("time=1:00", "1:00")):
        assert refused("run", "--on", "slurm", "--slurm", given) == (
            f"--slurm time: found {found}, allowed: minutes after which Slurm ends a job: --slurm time=120"
        )
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert refused("run", "--on", "slurm") == "submitit is not installed: pip install submitit"
