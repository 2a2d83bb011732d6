"""Stash a run of the last commit with its own settings, for a worker of DVC's queue or for a job.

Raw data, weights and what a killed `align` has finished come from the workspace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core import git
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import write_json
from pipeline.core.locks import hold, release
from pipeline.experiments.queue import repository
from pipeline.params.load import PARAMS_FILE


def check_committed() -> None:
    """Reject tracked files that differ from the last commit: DVC would take the changes into the run.

    Raises:
        UserError: there are such files, or git does not track `params.yaml`.
    """
    # If git does not track `params.yaml`, or was told to ignore its changes, the run does not get the settings in it.
    tracked = git.output("ls-files", "-v", "--", PARAMS_FILE.as_posix())
    files = git.uncommitted() or ([] if tracked == f"H {PARAMS_FILE}" else [str(PARAMS_FILE)])
    if files:
        others = f" and {len(files) - 5} more" if len(files) > 5 else ""
        allowed = (
            "files as in the last commit, which is what each run uses; commit or stash the changes first"
        )
        raise UserError.of(", ".join(files[:5]) + others, "changes that are not committed", allowed)


def put(name: str, params: str, paths: Iterable[Path], ref: str | None = None) -> dict[str, Any]:
    """Stash an experiment, and add it to DVC's queue unless it has a reference of its own.

    DVC takes the settings from `params.yaml` in the workspace. So while DVC queues the run and holds the lock of its
    repository, `params.yaml` holds the run's text and HEAD is detached. If the process is killed meanwhile, `alone`
    restores both in the next process that queues runs. (`--set-param` is not used, because it merges mappings and
    changes non-ASCII strings.)

    Args:
        name: name of the experiment.
        params: text of the run's `params.yaml`.
        paths: files and folders outside git that the run copies from the workspace.
        ref: git reference for the run, if it does not go into DVC's queue.

    Returns:
        DVC's entry of the run.

    Raises:
        UserError: there are changes that are not committed, a tracked file is saved while the run is queued, or DVC
            rejects the experiment.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo
    from dvc.repo.experiments.queue.tempdir import TempDirQueue
    from scmrepo.exceptions import SCMError

    # `dvc exp run --queue` does the same, but takes 1.6 s of CPU instead of 0.4 s.
    with repository() as repo:
        experiments, copies = repo.experiments, [str(path) for path in paths]
        queue = TempDirQueue(repo, ref) if ref else experiments.celery_queue
        try:
            with lock_repo(repo), _in_place_of(PARAMS_FILE, params, _note(repo)):
                # `no_hydra`: a project's Hydra configuration would write `params.yaml` anew.
                entry = experiments.queue_one(queue, name=name, copy_paths=copies, no_hydra=True)
        except (DvcException, SCMError) as error:
            raise UserError(f"dvc: {one_line(error)}") from None
        if saved := _saved_meanwhile(entry.stash_rev, params.encode()):
            queue.remove([entry.stash_rev])
            raise UserError.of(
                ", ".join(saved),
                f"changes that were saved while {name} was being queued",
                "none while a run is being queued; the run was removed from the queue, and "
                f"`git show {entry.stash_rev[:10]}:FILE` prints a file as it was saved",
            )
        return entry.asdict()


def _saved_meanwhile(commit: str, params: bytes) -> list[str]:
    """Return the files in which a queued run differs from the last commit, without those that DVC or `put` wrote."""
    listed = git.output("diff", "--name-only", "--relative", "-z", "HEAD", commit) or ""
    by_dvc = ("dvc.lock", ".dvc", ".dvc/tmp/repro.dat")
    files = [path for path in listed.split("\0") if path and not path.endswith(by_dvc)]
    (queued,) = git.contents(commit, [PARAMS_FILE.as_posix()])
    unlike = queued.split() != params.split()  # git may change the ends of lines
    return [path for path in files if path != PARAMS_FILE.as_posix() or unlike]


@contextmanager
def alone(*, wait: bool = False) -> Iterator[None]:
    """Let no other process queue the runs of a sweep while the block runs. Undo what a killed one has left behind.

    Args:
        wait: if another process is queueing runs, wait until it has finished.

    Raises:
        UserError: another process is queueing runs, and is not waited for; or the file system has no locks.
    """
    with repository() as repo:
        path, note = Path(repo.tmp_dir, "fer.lock"), _note(repo)
    path.touch()
    try:
        lock = hold(path, wait=wait)
    except BlockingIOError:
        raise UserError(
            "another `fer recipe run` is adding runs to the queue; repeat the command when it has added them"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        if note.exists():
            _undo(note)
        yield
    finally:
        release(lock)


def _note(repo: Any) -> Path:
    """Return the file that tells, while a run is being queued, how the workspace was before."""
    return Path(repo.tmp_dir, "fer-queueing.json")


@contextmanager
def _in_place_of(path: Path, content: str, note: Path) -> Iterator[None]:
    """Give a committed file another content while the block runs."""
    check_committed()
    committed = path.read_bytes()
    write_json(note, {"content": content, **_git_state()})
    path.write_text(content, encoding="utf-8", newline="")
    try:
        yield
    finally:
        if path.read_bytes() == content.encode():  # nobody has saved the file meanwhile
            path.write_bytes(committed)
        note.unlink()


def _git_state() -> dict[str, str | None]:
    return {
        "branch": git.output("symbolic-ref", "-q", "HEAD"),
        "commit": git.output("rev-parse", "HEAD"),
        "stash": git.output("rev-parse", "-q", "--verify", "refs/stash"),
    }


def _undo(note: Path) -> None:
    """Restore the branch, the index and `params.yaml`, and drop DVC's stash, after a process was killed in `put`.

    Whatever the user has saved or committed after the kill is kept.
    """
    before, now = json.loads(note.read_text(encoding="utf-8")), _git_state()
    params = PARAMS_FILE.as_posix()
    content = before["content"].encode()
    if before["branch"] and not now["branch"] and now["commit"] == before["commit"]:
        git.output("symbolic-ref", "HEAD", before["branch"])
    git.output("reset", "-q")
    # If the process was killed while it wrote `params.yaml`, the file holds only the beginning of `content`.
    if content.startswith(PARAMS_FILE.read_bytes() if PARAMS_FILE.exists() else b""):
        git.output("checkout", "-q", "--", params)
    if now["stash"] != before["stash"] and git.contents("refs/stash", [params]) == [content]:
        git.output("stash", "drop", "-q")
    note.unlink()
