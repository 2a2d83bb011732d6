"""Runs as jobs of Slurm, through submitit: one job for each run, on nodes that share the project's folder.

A job does what a worker of DVC's queue does for one run. DVC's queue does not know it. The run is stashed under a git
reference of its own until it has finished, and everything else about it lies in a folder of `FOLDER`.

A job lives as long as Slurm lists it. `squeue` says so; submitit asks `sacct`, which many clusters do not have. How a
job ended is in the files that it leaves behind.

DVC's own locks know processes by their number, which says nothing on another node. No job relies on them: each writes
git references that are its own. Jobs also take turns with git, by a lock of ours.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipeline.core import git, programs
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import write_json
from pipeline.core.locks import hold, release
from pipeline.experiments import submission
from pipeline.experiments.queue import (
    QueuedRun,
    RunState,
    keep_progress,
    kill_processes_in,
    progress,
    repository,
)

# Holds a folder for each run, with its record, its log and its copy of the project.
FOLDER = Path(".dvc/tmp/exps/jobs")
REFS = "refs/fer/jobs"  # stashed runs that have not finished
SLURM, LOCAL = "slurm", "local"  # submitit's names
LOG_LEVEL = "SUBMITIT_LOG_LEVEL"
LONG = 30 * 24 * 60  # minutes after which submitit ends a process on this machine
# Settings of submitit that `submit` gives itself, that change what a job is, or that are lists.
OWN = {
    "additional_parameters",
    "array_parallelism",
    "job_name",
    "nodes",
    "ntasks_per_node",
    "num_gpus",
    "setup",
    "srun_args",
    "stderr_to_stdout",
    "teardown",
    "use_srun",
}
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")  # states that `squeue` shows


class Cluster(NamedTuple):
    """Name where jobs run: `slurm` with settings of its jobs, or `local`, which are processes on this machine."""

    name: str
    settings: dict[str, Any]


def cluster(name: str, settings: Iterable[str]) -> Cluster:
    """Return where jobs run.

    Args:
        name: `slurm` or `local`.
        settings: `KEY=VALUE`, each a setting of submitit's SlurmExecutor.

    Raises:
        UserError: submitit or Slurm is not installed, submitit does not know a setting, or `time` is missing.
    """
    with _logging_as_it_is():
        try:
            import submitit
        except ImportError:
            raise UserError("submitit is not installed: pip install submitit") from None
    if name == LOCAL:
        return Cluster(name, {})
    for program in ("sbatch", "srun", "squeue"):
        if not shutil.which(program):
            raise UserError(f"{program}: not found; run this on a machine that submits jobs to Slurm")
    known = submitit.SlurmExecutor._valid_parameters() - OWN
    given: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known or not value:
            raise UserError.of("--slurm", setting, f"KEY=VALUE with one of {', '.join(sorted(known))}")
        given[key] = value
    time = given.pop("time", "none")
    if not time.isdecimal():
        raise UserError.of("--slurm time", time, "minutes after which Slurm ends a job: --slurm time=120")
    flags = {key: True for key, value in given.items() if value == "true"}
    return Cluster(name, {"time": int(time), **given, **flags})


def submit(where: Cluster, name: str, params: str, paths: list[Path]) -> str:
    """Submit an experiment as a job. Return the job's name and the path of its log.

    Args:
        where: the cluster.
        name: name of the experiment.
        params: text of the run's `params.yaml`.
        paths: files and folders outside git that the run copies from the workspace.

    Raises:
        UserError: as `submission.put`, or Slurm rejects the job.
    """
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    folder = FOLDER / name
    _forget(name)
    entry = submission.put(name, params, paths, ref=f"{REFS}/{name}")
    folder.mkdir(parents=True)
    record = {"revision": entry["stash_rev"], "cluster": where.name, "id": ""}
    write_json(_record(folder), record)
    executor = AutoExecutor(folder, cluster=where.name)
    settings = {f"{SLURM}_{key}": value for key, value in where.settings.items()}
    executor.update_parameters(name=name, timeout_min=LONG, stderr_to_stdout=True, **settings)
    try:
        with redirect_stderr(io.StringIO()):
            job = executor.submit(work, entry, [str(path) for path in paths])
    except (FailedJobError, FailedSubmissionError) as error:
        _forget(name)
        raise UserError(f"{name}: {one_line(error)}") from None
    log = folder / f"{name}.out"
    log.symlink_to(job.paths.stdout.name)
    write_json(_record(folder), record | {"id": job.job_id})
    return f"{where.name} job {job.job_id}, log {log}"


def runs() -> dict[str, QueuedRun]:
    """Return the runs whose jobs have not succeeded, by name.

    Raises:
        UserError: `squeue` fails.
    """
    # The order matters: a job writes its exit code before it ends.
    records = {path.parent: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*/job.json")}
    # Slurm may start a job anew after its processes were killed by a signal.
    may_live = [folder for folder in records if (code := _run(folder).exit_code()) is None or code < 0]
    living = _living({records[folder]["cluster"] for folder in may_live})
    found = {}
    for folder, record in records.items():
        job = f"{record['cluster']} job {record['id']}"
        if state := living.get((job, folder.name)) or _ending(folder):
            found[folder.name] = _run(folder)._replace(state=state, job=job)
    return found


def remove(unwanted: Iterable[QueuedRun]) -> None:
    """Forget runs whose jobs have ended, and keep the progress of those that were killed."""
    for run in unwanted:
        _clear(run.folder)
        _forget(run.name)


def work(entry: dict[str, Any], paths: list[str]) -> None:
    """Run an experiment, in its job.

    Slurm may start a job anew, for example after a node has failed. The run then goes on from its saved progress.

    Args:
        entry: what DVC needs to run the experiment, from `submission.put`.
        paths: files and folders outside git that the run copies from the workspace.
    """
    from dvc.repo.experiments.executor.base import ExecutorInfo
    from dvc.repo.experiments.executor.local import TempDirExecutor
    from dvc.repo.experiments.queue.base import BaseStashQueue
    from dvc.repo.experiments.stash import ExpStashEntry

    name, revision = entry["name"], entry["stash_rev"]
    folder = FOLDER / name
    if json.loads(_record(folder).read_text("utf-8"))["revision"] != revision:
        print(f"{name}: another job has this run")
        return
    _clear(folder)
    started = folder / f"{name}.pid"
    if started.exists():
        paths = [*paths, *(str(path) for path in progress() if str(path) not in paths)]
    started.write_text(f"{os.getpid()}\n", encoding="ascii")
    (folder / f"{name}.json").unlink(missing_ok=True)
    stash = ExpStashEntry(None, entry["head_rev"], entry["baseline_rev"], entry["branch"], name)
    info = (folder / f"{name}.run").absolute()
    with repository() as repo, _turn():
        executor = TempDirExecutor.from_stash_entry(repo, stash, wdir=str(folder.absolute()))
        executor.init_git(repo, repo.scm, revision, stash, str(info))
        executor.init_cache(repo, revision)
        executor.info.dump_json(str(info))
    copies = [word for path in paths for word in ("--copy-paths", path)]
    try:
        code = _call("dvc", "exp", "exec-run", "--infofile", str(info), *copies)
        if code == 0:
            done = ExecutorInfo.load_json(str(info))
            with repository() as repo, _turn():
                BaseStashQueue.collect_executor(
                    repo.experiments, TempDirExecutor.from_info(done), done.result
                )
            if name not in git.experiment_refs():
                raise UserError(f"{name}: git has no experiment of this name")
            executor.scm.close()  # a network file system keeps files that are open
            shutil.rmtree(executor.root_dir, ignore_errors=True)
            git.output("update-ref", "-d", f"{REFS}/{name}")
    finally:
        _clear(folder)
    write_json(folder / f"{name}.json", {"returncode": code})
    if code:
        sys.exit(1)


def _call(*command: str) -> int:
    """Run a program of this environment. Return its exit code, negative for a signal."""
    environment = os.environ | {"PATH": programs.path()}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
    try:
        return process.wait()
    finally:
        process.kill()  # if the time of the job is over, for which submitit raises an error


def _clear(folder: Path) -> None:
    """Delete the copies of the project that a run has left in its folder, and keep what `align` has finished in them.

    Processes that are left in a copy are killed.
    """
    for copy in folder.glob("tmp*"):
        kill_processes_in(copy.resolve())
        keep_progress(copy)
        shutil.rmtree(copy, ignore_errors=True)


def _forget(name: str) -> None:
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    git.output("update-ref", "-d", f"{REFS}/{name}")


def _record(folder: Path) -> Path:
    return folder / "job.json"


def _run(folder: Path) -> QueuedRun:
    return QueuedRun(folder.name, RunState.RUNNING, folder, None)


def _ending(folder: Path) -> RunState | None:
    """Return how a run ended whose job does not live; None if it succeeded."""
    with suppress(PermissionError):
        folder.chmod(folder.stat().st_mode)  # lets a network file system look at the folder anew
    code = _run(folder).exit_code()
    if code == 0:
        return None
    return RunState.INTERRUPTED if code is None or code < 0 else RunState.FAILED


def _living(clusters: set[str]) -> dict[tuple[str, str], RunState]:
    """Return the state of each job of the user that waits or runs, by job and name."""
    found = {}
    if SLURM in clusters:
        if not shutil.which("squeue"):
            raise UserError("squeue: not found; run this on a machine that submits jobs to Slurm")
        for line in programs.output("squeue", "--me", "--noheader", "--format=%i %T %j").splitlines():
            number, state, name = line.split(maxsplit=2)
            waiting = state in WAITING
            found[f"{SLURM} job {number}", name] = RunState.WAITING if waiting else RunState.RUNNING
    if LOCAL in clusters:
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if "submitit.local._local" in command:
                found[f"{LOCAL} job {process.pid}", Path(command[-1]).name] = RunState.RUNNING
    return found


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Let submitit not configure `logging` when it is imported: this closes the handlers of all other libraries."""
    own = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = "NOCONFIG"
    try:
        yield
    finally:
        del os.environ[LOG_LEVEL]  # jobs inherit the environment, and log what they do
        if own is not None:
            os.environ[LOG_LEVEL] = own


@contextmanager
def _turn() -> Iterator[None]:
    """Let no other job use git while the block runs."""
    path = FOLDER / "lock"
    path.touch()
    lock = hold(path, wait=True)
    try:
        yield
    finally:
        release(lock)
