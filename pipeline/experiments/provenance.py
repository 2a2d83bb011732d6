"""Read the settings, code and data of a finished run, and say how they differ from those of now."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ruamel.yaml import YAML

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.core.files import sha256_of
from pipeline.core.progress import in_yaml
from pipeline.experiments.recipes import Overrides
from pipeline.params.settings import MACHINE, flat, in_use
from pipeline.tables.paths import METRICS, RAW

NAMED = 3  # at most this number of differing settings, and of files, is named; the others are counted
ABSENT = "absent"
A = TypeVar("A")


class FinishedRun(NamedTuple):
    """A finished experiment, as its commit has it.

    Attributes:
        evaluation: `metrics/evaluate.json`.
        settings: its `params.yaml`, by dotted key.
        inputs: MD5 of the code and the raw data that its stages read, by path. The stage `check` is left out, because
            no result depends on it.
        outputs: MD5 of the files that its stages wrote, by path.
        weights: SHA-256 of the files of weights that training started from, by path.
    """

    evaluation: dict[str, Any]
    settings: Overrides
    inputs: dict[str, str]
    outputs: dict[str, str]
    weights: dict[str, str]


def read(ref: str) -> FinishedRun:
    """Return the experiment at a git reference.

    Raises:
        UserError: it has no scores.
    """
    metrics = [(METRICS / name).as_posix() for name in ("evaluate.json", "train.json")]
    params, lock, evaluation, training = git.contents(ref, ["params.yaml", "dvc.lock", *metrics])
    if not evaluation:
        raise UserError(f"{ref}: has no {metrics[0]}; `dvc exp remove` removes the experiment")
    settings = flat(_yaml(params))
    stages = of_datasets(_yaml(lock).get("stages", {}), settings.get("datasets", []))
    outputs = {out["path"]: out.get("md5", "") for stage in stages.values() for out in stage.get("outs", [])}
    inputs = {
        dep["path"]: dep.get("md5", "")
        for name, stage in stages.items()
        for dep in stage.get("deps", [])
        if name != "check" and not any(_overlap(dep["path"], path) for path in outputs)
    }
    weights = _weights(settings, json.loads(training or "{}").get("weights", {}))
    return FinishedRun(json.loads(evaluation), settings, inputs, outputs, weights)


def differences(run: FinishedRun, settings: Overrides, md5_now: Callable[[str], str | None]) -> str:
    """Return in which way a run's settings, code and data differ from those of now, in words; "" if they do not.

    Three things do not count: settings of methods that are not chosen; settings of the machine that are absent from the
    argument `settings`; raw data and weights that no longer exist.

    Args:
        run: the finished run.
        settings: the settings of a run now, by dotted key.
        md5_now: returns the MD5 of a file or folder of the project; None if it is not there.
    """
    was, now = in_use(run.settings), in_use(settings)
    changed = [
        f"{key} {_word(was, key)}, now {_word(now, key)}"
        for key in was | now
        if (key in now or key not in MACHINE) and was.get(key, ABSENT) != now.get(key, ABSENT)
    ]
    files = [path for path, md5 in run.inputs.items() if md5_now(path) not in _allowed(path, md5)]
    files += [
        path for path, sha in run.weights.items() if Path(path).is_file() and sha256_of(Path(path)) != sha
    ]
    if files:
        files = [f"changed: {', '.join(_first(files, 'files'))}"]
    return "; ".join([*_first(changed, "settings"), *files])


def _word(settings: Overrides, key: str) -> str:
    return in_yaml(settings[key]) if key in settings else ABSENT


def _allowed(path: str, md5: str) -> tuple[str | None, ...]:
    """Return the hashes that an input of a run may have now. Raw data may have been removed since."""
    return (md5, None) if Path(path).is_relative_to(RAW) else (md5,)


def _first(names: list[str], what: str) -> list[str]:
    return [*names[:NAMED], f"{len(names) - NAMED} more {what}"] if len(names) > NAMED else names


def md5_in(repo: Any) -> Callable[[str], str | None]:
    """Return a function that hashes files and folders as DVC does. DVC remembers the hashes of unchanged files."""
    from dvc.fs import localfs
    from dvc_data.hashfile.build import build

    @cache
    def md5(path: str) -> str | None:
        if not Path(path).exists():
            return None
        absolute = str(Path(path).absolute())
        return build(repo.cache.local, absolute, localfs, "md5", dry_run=True, ignore=repo.dvcignore)[2].oid

    return md5


def _yaml(content: bytes) -> dict[str, Any]:
    return YAML(typ="safe").load(content) or {}


def of_datasets(stages: dict[str, A], datasets: list[str]) -> dict[str, A]:
    """Return the stages of a dvc.lock that a run on these data sets needs. Others are left from earlier runs."""
    return {
        name: stage
        for name, stage in stages.items()
        if name.partition("@")[2] in ("", *datasets) and (name != "sample" or name in datasets)
    }


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _weights(settings: Overrides, reports: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the files of weights by path, from the reports of `pipeline.training.pretrained`."""
    chosen: Any = settings.get(f"models.{settings.get('model')}.weights")
    paths: dict[str, str] = chosen if isinstance(chosen, dict) else {"": chosen}
    by_part = reports if isinstance(chosen, dict) else {"": reports}
    return {path: sha for part, path in paths.items() if (sha := by_part.get(part, {}).get("sha256"))}
