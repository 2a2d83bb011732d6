"""The origin of a model file: the stages that `dvc.lock` ties to it by hash, and git's commit.

A metrics file counts only if hashes lead from the model to the stage that wrote it, and the file has not changed since.
So the metrics of one run never describe the model of another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import git, yaml
from pipeline.core.errors import UserError, one_line
from pipeline.core.files import md5_of
from pipeline.experiments.provenance import of_datasets
from pipeline.tables.paths import CHECKED

LOCK = Path("dvc.lock")


@dataclass(frozen=True)
class Stage:
    """A recorded run of a stage.

    Attributes:
        deps, outs: MD5 of inputs and outputs, by path.
        params: parameters that the stage used, by dotted key.
    """

    deps: dict[str, str]
    outs: dict[str, str]
    params: dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """The run behind a model file.

    Attributes:
        stages: the stages that led to the file or scored it, by name; empty if `dvc.lock` does not know the file.
    """

    stages: dict[str, Stage]

    def metrics(self, path: Path) -> dict[str, Any]:
        """Return a metrics file of the run; empty if it does not exist or belongs to another run."""
        recorded = {
            md5 for stage in self.stages.values() for out, md5 in stage.outs.items() if Path(out) == path
        }
        return json.loads(path.read_bytes()) if path.is_file() and md5_of(path) in recorded else {}

    def params(self, stage: str) -> dict[str, Any]:
        """Return the parameters that a stage of the run used; empty if there is no such stage."""
        return self.stages[stage].params if stage in self.stages else {}

    def data(self) -> dict[str, str]:
        """Return the MD5 of all data that the stages read, including raw data, by path.

        The file of the stage `check` is no data.
        """
        read = {path: md5 for stage in self.stages.values() for path, md5 in stage.deps.items()}
        return {
            path: md5
            for path, md5 in sorted(read.items())
            if path.startswith("data/") and path != CHECKED.as_posix()
        }


def trace(model_md5: str, lock: Path = LOCK) -> Lineage:
    """Return the lineage of a model file by its MD5.

    Raises:
        UserError: `dvc.lock` cannot be read.
    """
    stages = _read(lock)
    trained = [name for name, stage in stages.items() if model_md5 in stage.outs.values()]
    scored = [name for name, stage in stages.items() if trained and model_md5 in stage.deps.values()]
    datasets = [data for name in trained for data in stages[name].params.get("datasets", [])]
    stages = of_datasets(stages, datasets)
    connected: set[str] = set()
    pending = [*trained, *scored]
    while pending:
        name = pending.pop()
        if name not in connected:
            connected.add(name)
            for path, md5 in stages[name].deps.items():
                pending += _makers(stages, path, md5)
    return Lineage({name: stage for name, stage in stages.items() if name in connected})


def _makers(stages: dict[str, Stage], path: str, md5: str) -> list[str]:
    """Return the stages that wrote a file with this hash, or the files of a folder with this hash."""
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
        stages = yaml.read(lock)["stages"]
        return {
            name: Stage(
                hashes(stage.get("deps", [])),
                hashes(stage.get("outs", [])),
                stage.get("params", {}).get("params.yaml", {}),
            )
            for name, stage in stages.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{lock}: not a lock file of DVC: {one_line(error)}") from None


def commit() -> tuple[str | None, bool | None]:
    """Return git's commit, and whether tracked files differ from it; None and None outside a repository."""
    head = git.output("rev-parse", "HEAD")
    changes = git.output("status", "--porcelain", "--untracked-files=no")
    return head, None if head is None or changes is None else bool(changes)
