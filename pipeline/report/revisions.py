"""Where the files of a run lie: in the workspace, or in git and DVC's cache."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple, Protocol
from zipfile import ZipFile

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.core.git import refs

WORKSPACE = "workspace"  # as DVC names it
LOCK, PARAMS, METRICS = Path("dvc.lock"), Path("params.yaml"), Path("metrics")


class Commit(NamedTuple):
    """What git says of a run.

    Attributes:
        sha: the commit itself; of the workspace the one it stands on.
        date: ISO 8601, of the commit.
        subject: the first line of its message.
        branch: that is checked out, of the workspace alone; "" for none.
        changed: files of the workspace that are not as committed.
        experiment: name of DVC's experiment; "" for none.
        baseline: the commit that an experiment or the workspace started from; "" for none.
    """

    sha: str
    date: str
    subject: str
    branch: str
    changed: list[str]
    experiment: str
    baseline: str


class Source(Protocol):
    """Files of a run."""

    @property
    def name(self) -> str:
        """What the user calls the run."""

    @property
    def commit(self) -> Commit | None:
        """None outside of a git repository."""

    def find(self, path: Path) -> Path | None:
        """Return where a file or folder of the project can be read; None if this run has none."""


class Workspace:
    """The files of the folder that holds params.yaml, as they are now."""

    name = WORKSPACE

    def __init__(self) -> None:
        self.commit = _workspace_commit()

    def find(self, path: Path) -> Path | None:
        """Return the path, if there is something."""
        return path if path.exists() else None


class Revision:
    """The files of an experiment or a commit, copied into a folder when they are asked for.

    Args:
        name: of an experiment or of anything that git knows as a commit.
        folder: an empty one.

    Raises:
        UserError: there is no such experiment or commit.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        ref = refs().get(name)
        sha = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref or name}^{{commit}}")
        if not sha:
            raise UserError(
                f"experiment: found {name!r}, allowed: {WORKSPACE}, a name that `dvc exp list --all-commits` prints, "
                "or a commit"
            )
        baseline = _git("rev-parse", "--verify", "--quiet", f"{sha}^") if ref else ""
        self.sha = sha
        self.commit = _commit(sha, experiment=name if ref else "", baseline=baseline)
        self._unpack()

    def _unpack(self) -> None:
        """Write what git has of the run."""
        wanted = [path.as_posix() for path in (LOCK, PARAMS, METRICS)]
        paths = _git("ls-tree", "-r", "-z", "--name-only", self.sha, "--", *wanted).split("\0")
        if not any(paths):
            return
        # No tar archive: what makes unpacking one safe came with Python 3.11.4.
        archive = self.folder / ".zip"
        _git("archive", "--format=zip", f"--output={archive}", self.sha, "--", *filter(None, paths))
        with ZipFile(archive) as files:
            files.extractall(self.folder)
        archive.unlink()

    def find(self, path: Path) -> Path | None:
        """Return where the file or folder was written, from DVC's cache or remote if git does not have it."""
        there = self.folder / path
        if there.exists():
            return there
        if path.parts[0] == METRICS.name or path in (LOCK, PARAMS):
            return None
        from dvc.api import DVCFileSystem

        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            DVCFileSystem(rev=self.sha).get(path.as_posix(), str(there), recursive=True)
        except Exception:  # a remote's library raises its own
            # What is neither in git nor in the cache nor the remote is as absent as what the run never had.
            return None
        return there if there.exists() else None


def open_source(name: str, folder: Path) -> Source:
    """Return the workspace, or the revision of that name with an empty folder for its files."""
    return Workspace() if name == WORKSPACE else Revision(name, folder)


def _workspace_commit() -> Commit | None:
    sha = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if not sha:
        return None
    status = _git("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    changed = [line[3:] for line in status.split("\0") if line]
    return _commit(
        sha,
        branch=_git("branch", "--show-current"),
        changed=changed,
        experiment=_applied(sha) if changed else "",
        baseline=sha,
    )


def _applied(sha: str) -> str:
    """Return the experiment on this commit whose parameters and results the workspace has; "" if none."""
    files = [path.as_posix() for path in (LOCK, PARAMS, METRICS)]
    for name, ref in refs().items():
        if f"/{sha[2:]}/" in ref and _is_equal(ref, files):
            return name
    return ""


def _is_equal(ref: str, files: list[str]) -> bool:
    return subprocess.run(["git", "diff", "--quiet", ref, "--", *files], check=False).returncode == 0


def _commit(
    sha: str,
    *,
    branch: str = "",
    changed: list[str] | None = None,
    experiment: str = "",
    baseline: str = "",
) -> Commit:
    date, subject = _git("show", "--no-patch", "--format=%cI%n%s", sha).split("\n", 1)
    return Commit(sha, date, subject, branch, changed or [], experiment, baseline)


def show(sha: str, path: Path) -> str:
    """Return the text of a file in a commit; "" if it has none."""
    return _git("show", f"{sha}:./{path.as_posix()}")


def _git(*arguments: str) -> str:
    """Return what git prints; "" where it refuses, as outside of a repository."""
    return git.said(*arguments) or ""
