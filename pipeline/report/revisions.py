"""Find the files of a run, in the workspace or in git and DVC's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import ZipFile

from pipeline.core import git
from pipeline.core.errors import UserError

WORKSPACE = "workspace"  # as DVC names it
LOCK, PARAMS, METRICS = Path("dvc.lock"), Path("params.yaml"), Path("metrics")
IN_GIT = [path.as_posix() for path in (LOCK, PARAMS, METRICS)]


class Commit(NamedTuple):
    """The commit of a run.

    Attributes:
        sha: the commit; for the workspace, HEAD.
        date: date of the commit, ISO 8601.
        subject: first line of its message.
        branch: the workspace's branch; "" for none.
        changed: files of the workspace that differ from the commit.
        experiment: name of DVC's experiment; "" for none.
        baseline: the commit that an experiment or the workspace started from; "" for none.
    """

    sha: str
    date: str
    subject: str
    branch: str = ""
    changed: tuple[str, ...] = ()
    experiment: str = ""
    baseline: str = ""


class RunFiles(Protocol):
    """Files of a run."""

    @property
    def name(self) -> str:
        """The user's name for the run."""

    @property
    def commit(self) -> Commit | None:
        """The run's commit; None outside a git repository."""

    def find(self, path: Path) -> Path | None:
        """Return a local copy of a file or folder of the project; None if the run does not have it."""


class Workspace:
    """The files of the current folder."""

    name = WORKSPACE

    def __init__(self) -> None:
        self.commit = _workspace_commit()

    def find(self, path: Path) -> Path | None:
        """Return the path if it exists."""
        return path if path.exists() else None


class Revision:
    """The files of an experiment or a commit, copied into a folder on demand.

    Args:
        name: an experiment, or anything that git resolves to a commit.
        folder: an empty folder.

    Raises:
        UserError: there is no such experiment or commit.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        ref = git.experiment_refs().get(name)
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
        """Copy dvc.lock, params.yaml and metrics/ from git."""
        paths = _git("ls-tree", "-r", "-z", "--name-only", self.sha, "--", *IN_GIT).split("\0")
        if not any(paths):
            return
        # A zip archive, as tar archives can be unpacked safely only since Python 3.11.4.
        archive = self.folder / ".zip"
        _git("archive", "--format=zip", f"--output={archive}", self.sha, "--", *filter(None, paths))
        with ZipFile(archive) as files:
            files.extractall(self.folder)
        archive.unlink()

    def find(self, path: Path) -> Path | None:
        """Return a local copy, from DVC's cache or remote if git does not have the file or folder."""
        local_copy = self.folder / path
        if local_copy.exists():
            return local_copy
        if path.parts[0] in IN_GIT:
            return None
        from dvc.api import DVCFileSystem

        local_copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            DVCFileSystem(rev=self.sha).get(path.as_posix(), str(local_copy), recursive=True)
        except Exception:  # the libraries of remotes raise many kinds; the file is not available
            return None
        return local_copy if local_copy.exists() else None


def run_files(name: str, folder: Path) -> RunFiles:
    """Return the files of the workspace, or of a revision, which are copied into an empty folder."""
    return Workspace() if name == WORKSPACE else Revision(name, folder)


def _workspace_commit() -> Commit | None:
    sha = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if not sha:
        return None
    changed = tuple(git.uncommitted())
    experiment = _applied(sha) if changed else ""
    return _commit(
        sha, branch=_git("branch", "--show-current"), changed=changed, experiment=experiment, baseline=sha
    )


def _applied(sha: str) -> str:
    """Return the experiment on this commit with the parameters and results of the workspace; "" if none."""
    for name, ref in git.experiment_refs().items():
        if f"/{sha[2:]}/" in ref and git.output("diff", "--quiet", ref, "--", *IN_GIT) is not None:
            return name
    return ""


def _commit(sha: str, **details: Any) -> Commit:
    date, subject = _git("show", "--no-patch", "--format=%cI%n%s", sha).split("\n", 1)
    return Commit(sha, date, subject, **details)


def show(sha: str, path: Path) -> str:
    """Return the text of a file in a commit; "" if the commit does not have it."""
    return _git("show", f"{sha}:./{path.as_posix()}")


def _git(*arguments: str) -> str:
    """Return git's output; "" if git fails, for example outside a repository."""
    return git.output(*arguments) or ""
