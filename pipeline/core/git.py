"""Ask git about files, commits and experiments, and rename experiments."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from pipeline.core import programs
from pipeline.core.errors import UserError


def output(*arguments: str) -> str | None:
    """Return what git prints, without the final newline; None if git fails, for example outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:  # git is not installed
        return None
    # File names and commit messages can be in any encoding.
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None


def experiment_refs() -> dict[str, str]:
    """Return the git reference of each finished DVC experiment by name; the newest if several share a name."""
    listed = programs.output(
        "git", "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps"
    )
    refs = [ref for ref in listed.splitlines() if ref.split("/")[2] not in ("exec", "stash", "celery")]
    return {ref.rpartition("/")[2]: ref for ref in refs}


def uncommitted() -> list[str]:
    """Return the tracked files that differ from the last commit, in the index or in the workspace.

    Raises:
        UserError: git fails, for example outside a repository.
    """
    listed = output("status", "--porcelain", "-z", "--no-renames", "--untracked-files=no")
    if listed is None:
        raise UserError("git status: failed; run this in the git repository of the project")
    return [*(entry[3:] for entry in listed.split("\0") if entry), *_hidden()]


def show_to_git(path: Path) -> None:
    """Let git notice that DVC has changed a file.

    DVC checks a file out and then writes its own content into it. If both happen in the same second, and both contents
    have the same size, git takes the file for unchanged, until its time changes.
    """
    with suppress(OSError):
        times = path.stat()
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns - 10**9))


def _hidden() -> list[str]:
    """Return the changed files that `git status` leaves out, because `git update-index` told it to."""
    listed = (output("ls-files", "-v", "-z") or "").split("\0")
    paths = [entry[2:] for entry in listed if entry[:1] not in ("", "H") and Path(entry[2:]).is_file()]
    before = contents("HEAD", paths)
    return [path for path, content in zip(paths, before, strict=True) if Path(path).read_bytes() != content]


def contents(ref: str, paths: Iterable[str]) -> list[bytes]:
    """Return the contents of files of a commit, empty for a file that it does not have. One process reads them all."""
    asked = "".join(f"{ref}:./{path}\n" for path in paths).encode()
    answer = BytesIO(subprocess.run(["git", "cat-file", "--batch"], input=asked, capture_output=True).stdout)
    found = []
    for head in answer:  # of each file: `<id> blob <size>`, its content and a line break, or `<name> missing`
        size = head.split()[-1]
        found.append(b"" if size == b"missing" else answer.read(int(size)))
        if size != b"missing":
            answer.readline()
    return found


def retire(experiment: str) -> str:
    """Rename a finished DVC experiment, so that its name is free again. Return the new name.

    The new name ends in the experiment's abbreviated commit.
    """
    refs = "--format=%(refname) %(objectname)", f"refs/exps/*/*/{experiment}"
    for line in programs.output("git", "for-each-ref", "--sort=committerdate", *refs).splitlines():
        ref, commit = line.split()
        name = f"{experiment}-old-{commit[:7]}"
        programs.output("git", "update-ref", f"{ref.removesuffix(experiment)}{name}", commit)
        programs.output("git", "update-ref", "-d", ref, commit)
    return name
