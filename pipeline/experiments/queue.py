"""DVC's queue of experiments: put in, started, looked at, and taken up again after a kill.

DVC takes a run for running until its worker says that it ended: for ever, if the worker was killed. Here processes
say what runs: that of a run is the child of a worker.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipeline.core.errors import UserError, one_line, printable
from pipeline.core.git import run
from pipeline.tables.paths import INTERRUPTED, MODELS

# What killed stages have done so far; a run that is put back takes it along.
UNFINISHED = (MODELS / "checkpoints", INTERRUPTED)
TAIL = 2**14  # bytes of a log that are read


class State(StrEnum):
    """Where a run in the queue stands."""

    WAITING = "waiting"
    RUNNING = "running"
    CUT_OFF = "cut off"  # its worker was killed
    ENDED = "ended"  # it succeeded if git has its commit; else it failed


class Task(NamedTuple):
    """A run in DVC's queue.

    Attributes:
        name: the experiment's.
        state: where it stands.
        folder: where DVC keeps its log and what it knows of its process.
        took: seconds, of one that has ended; None where its worker did not say.
    """

    name: str
    state: State
    folder: Path
    took: float | None

    def seconds(self) -> float:
        """Return how long it has run, if it runs."""
        try:
            return time.time() - self._file("pid").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def last_line(self) -> str:
        """Return what its log says last."""
        return next(reversed(self._log()), "")

    def reason(self) -> str:
        """Return why it failed: what killed it, or the last line of the stage that did."""
        code = self.exit_code()
        if code is None:
            return "ended before it began; .dvc/tmp/exps/celery/dvc-exp-worker-*.out say why"
        if code < 0:
            return _killed(-code)
        lines = self._log()
        for number, line in enumerate(lines):
            if found := re.search(
                r"failed to reproduce '(.+?)': failed to run: .*, exited with (-?\d+)", line
            ):
                stage, exit_code = found[1], int(found[2])
                if exit_code < 0 or exit_code > 128:  # a shell adds 128 to the signal's number
                    return f"{stage}: {_killed(abs(exit_code) % 128)}"
                said = lines[number - 1] if number and not lines[number - 1].startswith(">") else line
                return f"{stage}: {said.removeprefix('fer: ')}"
        return self.last_line().removeprefix("ERROR: ") or "its log is empty"

    def exit_code(self) -> int | None:
        """Return how its process ended: minus the signal that killed it; None if it has not, or never began."""
        try:
            return json.loads(self._file("json").read_text(encoding="utf-8"))["returncode"]
        except FileNotFoundError:
            return None

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.folder.name}.{kind}"

    def _log(self) -> list[str]:
        try:
            with self._file("out").open("rb") as file:
                file.seek(0, 2)
                file.seek(max(file.tell() - TAIL, 0))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        # A progress bar writes its line anew after each \r.
        return [printable(line.strip())[:200] for line in re.split(r"[\r\n]+", text) if line.strip()]


def tasks() -> dict[str, Task]:
    """Return the runs in DVC's queue by name; of two with one name, the later one."""
    with repository() as repo:
        queue = repo.experiments.celery_queue
        held, idle = _held()
        # In this order: what moves on in between is seen twice, and its later state counts.
        found: list[tuple[Any, State, float | None]]
        found = [(entry, State.WAITING, None) for entry in queue.iter_queued()]
        found += [(entry, State.RUNNING, None) for entry in queue.iter_active()]
        took = _took(Path(queue.wdir))
        found += [(entry, State.ENDED, took.get(result.id)) for result, entry in queue._iter_done_tasks()]
        held_now, idle_now = _held()
        runs = {}
        for entry, state, seconds in found:
            # A worker without a process is about to begin a run, collects one, or ends in a few seconds.
            if state == State.RUNNING and not (idle or idle_now or entry.stash_rev in held | held_now):
                state = State.CUT_OFF
            if entry.name:
                runs[entry.name] = Task(entry.name, state, Path(queue.pid_dir) / entry.stash_rev, seconds)
        return runs


def put(name: str, settings: dict[str, Any], paths: Iterable[Path]) -> None:
    """Put an experiment into the queue.

    Args:
        name: the experiment's.
        settings: parameters by dotted key.
        paths: what git does not have, and the run takes along from the workspace.

    Raises:
        UserError: DVC refuses.
    """
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    # As `dvc exp run --queue` does, whose start alone takes ten times as long.
    params = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    with repository() as repo:
        try:
            repo.experiments.run(queue=True, name=name, params=params, copy_paths=list(map(str, paths)))
        except (DvcException, SCMError) as error:
            raise UserError(f"dvc: {one_line(error)}") from None


def start(jobs: int) -> None:
    """Start DVC's workers, which go on when this process has ended."""
    # A worker calls `dvc`, and a stage `python`: this environment's, also where it was not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run(sys.executable, "-m", "dvc", "queue", "start", "--jobs", str(jobs), PATH=path)


def workers() -> int:
    """Return how many workers of this repository's queue live.

    Their processes are looked for: a worker that was told to stop finishes its experiment, but answers DVC no more.
    """
    return sum(1 for _ in _workers())


def take_out(names: set[str]) -> list[Path]:
    """Take runs that failed or were cut off out of the queue, with whatever is left of them.

    A run that came to its end although its worker did not is kept as DVC would have. Of the others, processes that
    still run are ended, and what their stages had done so far is moved into the workspace.

    Returns:
        What a run that is put in again has to take along: folders of the workspace.
    """
    from celery.result import AsyncResult
    from dvc.repo.experiments.executor.base import ExecutorInfo
    from dvc.repo.experiments.executor.local import TempDirExecutor

    with repository() as repo:
        queue = repo.experiments.celery_queue
        for message, entry in list(queue._iter_processed()):
            if entry.name not in names:
                continue
            try:
                info = ExecutorInfo.load_json(queue.get_infofile_path(entry.stash_rev))
            except FileNotFoundError:  # killed while its folder was being made
                info = None
            if info and Path(info.root_dir).parent == Path(queue.pid_dir).parent:
                if info.result is not None and Path(info.root_dir).is_dir():
                    queue.collect_executor(repo.experiments, TempDirExecutor.from_info(info), info.result)
                _end(Path(info.root_dir))
                for folder in UNFINISHED:
                    _move(Path(info.root_dir) / folder, folder)
                shutil.rmtree(info.root_dir, ignore_errors=True)
            if (result := AsyncResult(message.headers["id"])).ready():
                result.forget()
            queue.celery.purge(message.delivery_tag)
    return [folder for folder in UNFINISHED if folder.is_dir() and any(folder.iterdir())]


@contextmanager
def repository() -> Iterator[Any]:
    """Yield DVC's view of this folder.

    Raises:
        UserError: it is none of DVC's.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        repo = Repo()
    except (NotDvcRepoError, SCMError) as error:
        raise UserError(f"dvc: {one_line(error)}") from None
    with repo:
        yield repo


def _workers() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if (
            "queue-worker" in (process.info["cmdline"] or [])
            and process.info["cwd"]
            and Path(process.info["cwd"]).is_relative_to(Path.cwd())
        ):
            yield process


def _held() -> tuple[set[str], bool]:
    """Return the revisions of the runs that are children of workers, and whether a worker has none."""
    held, idle = set(), False
    for worker in _workers():
        try:
            commands = [child.cmdline() for child in worker.children()]
        except psutil.NoSuchProcess:
            continue
        own = {
            Path(command[command.index("--infofile") + 1]).stem
            for command in commands
            if "exec-run" in command
        }
        held |= own
        idle = idle or not own
    return held, idle


def _took(folder: Path) -> dict[str, float]:
    """Return the seconds that runs took by the number of their task, as the workers' logs say."""
    logs = "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("*.out"))
    return {
        task: float(seconds) for task, seconds in re.findall(r"\[([0-9a-f-]+)\] succeeded in ([\d.]+)s", logs)
    }


def _end(root: Path) -> None:
    """Kill the processes that work in a run's folder."""
    inside = []
    for process in psutil.process_iter(["cwd"]):
        # A folder that was removed has a note behind its name.
        if f"{process.info['cwd'] or ''}/".replace(" (deleted)", "").startswith(f"{root}/"):
            inside.append(process)
    for process in inside:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(inside, timeout=10)


def _move(source: Path, target: Path) -> None:
    """Move the files of a folder into another one, but for those that it has."""
    for file in source.glob("*") if source.is_dir() else []:
        target.mkdir(parents=True, exist_ok=True)
        if not (target / file.name).exists():
            shutil.move(file, target / file.name)


def _killed(number: int) -> str:
    try:
        return f"killed by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"killed by signal {number}"
