"""Where a model file came from: the stages that `dvc.lock` ties to it by hash, and git's commit.

A metrics file counts only if a hash leads from the model to the stage that wrote it and the file is still what that
stage wrote. So the figures of one run never describe the model of another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core import git
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import md5_of

LOCK = Path("dvc.lock")


@dataclass(frozen=True)
class Stage:
    """A stage as it ran.

    Attributes:
        deps, outs: MD5 of what it read and wrote, by path.
        params: what it took from params.yaml, by dotted key.
    """

    deps: dict[str, str]
    outs: dict[str, str]
    params: dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """The run behind a model file.

    Attributes:
        stages: those that led to it, and those that scored it, by name; none if `dvc.lock` does not know the file.
    """

    stages: dict[str, Stage]

    def metrics(self, path: Path) -> dict[str, Any]:
        """Return a metrics file of the run; nothing if it is of another one, or absent."""
        recorded = {
            md5 for stage in self.stages.values() for out, md5 in stage.outs.items() if Path(out) == path
        }
        return json.loads(path.read_bytes()) if path.is_file() and md5_of(path) in recorded else {}

    def params(self, stage: str) -> dict[str, Any]:
        """Return what a stage of the run took from params.yaml; nothing if there is no such stage."""
        return self.stages[stage].params if stage in self.stages else {}

    def data(self) -> dict[str, str]:
        """Return the MD5 of all data that the stages read, raw data included, by path."""
        read = {path: md5 for stage in self.stages.values() for path, md5 in stage.deps.items()}
        return {path: md5 for path, md5 in sorted(read.items()) if path.startswith("data/")}


def trace(model_md5: str, lock: Path = LOCK) -> Lineage:
    """Return the lineage of a model file by its MD5.

    Raises:
        UserError: `dvc.lock` is not what DVC writes.
    """
    stages = _read(lock)
    trained = [name for name, stage in stages.items() if model_md5 in stage.outs.values()]
    scored = [name for name, stage in stages.items() if trained and model_md5 in stage.deps.values()]
    # A list of data sets that was longer once has left stages behind.
    datasets = [data for name in trained for data in stages[name].params.get("datasets", [])]
    stages = {name: s for name, s in stages.items() if "@" not in name or name.partition("@")[2] in datasets}
    found: dict[str, Stage] = {}
    waiting = [*trained, *scored]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = stages[name]
            for path, md5 in stages[name].deps.items():
                waiting += _makers(stages, path, md5)
    return Lineage({name: found[name] for name in stages if name in found})


def _makers(stages: dict[str, Stage], path: str, md5: str) -> list[str]:
    """Return the stages that wrote a file, or the files of a folder, with this hash."""
    if makers := [name for name, stage in stages.items() if stage.outs.get(path) == md5]:
        return makers
    inside = {
        out.removeprefix(f"{path}/"): (name, written)
        for name, stage in stages.items()
        for out, written in stage.outs.items()
        if out.startswith(f"{path}/")
    }
    # DVC's hash of a folder.
    listing = [{"md5": written, "relpath": file} for file, (_, written) in sorted(inside.items())]
    whole = hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return [name for name, _ in inside.values()] if md5 == f"{whole}.dir" else []


def _read(lock: Path) -> dict[str, Stage]:
    def hashes(entries: list[dict[str, Any]]) -> dict[str, str]:
        return {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}

    if not lock.is_file():
        return {}
    try:
        stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"]
        return {
            name: Stage(
                hashes(stage.get("deps", [])),
                hashes(stage.get("outs", [])),
                stage.get("params", {}).get("params.yaml", {}),
            )
            for name, stage in stages.items()
        }
    except (YAMLError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{lock}: not a lock file of DVC: {one_line(error)}") from None


def commit() -> tuple[str | None, bool | None]:
    """Return git's commit and whether tracked files differ from it; None and None outside of git."""
    head = git.said("rev-parse", "HEAD")
    changes = git.said("status", "--porcelain", "--untracked-files=no")
    return head, None if head is None or changes is None else bool(changes)
