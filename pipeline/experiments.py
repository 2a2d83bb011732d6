"""Runs of recipes as DVC experiments: put into its queue, and read back from git."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from pipeline.errors import UserError, one_line
from pipeline.paths import METRICS, RAW
from pipeline.recipes import Recipe, Settings, applied

SCORES = METRICS / "evaluate.json"


class Figure(NamedTuple):
    """A score of a variant: mean and standard deviation of our runs, and the paper's.

    Attributes:
        variant: its name.
        score: dotted key of `metrics/evaluate.json`.
        read: the key that ours was read at: on valid where there is no test split.
        runs: how many runs have it.
        mean, spread: None without runs; the spread of one run is None.
        paper: None where the paper does not say.
    """

    variant: str
    score: str
    read: str
    runs: int
    mean: float | None
    spread: float | None
    paper: float | None


def _prefix(recipe: str, variant: str, short: bool) -> str:
    """Return what the names of a variant's runs have before the seed."""
    return f"{recipe}{'-short' if short else ''}-{variant}-s".replace("_", "-")


def queue(name: str, recipe: Recipe, variants: list[str], seeds: int, short: bool) -> Iterator[str]:
    """Put a run of each variant with each of the seeds 1, 2, ... into DVC's queue; yield their names.

    A run that is there already is left as it is.

    Raises:
        UserError: a setting is not allowed (nothing is queued then), or DVC refuses.
    """
    chosen = {variant: recipe.settings(variant, short) for variant in variants}
    for settings in chosen.values():
        applied(settings)
    there = set(_refs()) | _queued()
    for seed in range(1, seeds + 1):
        for variant, settings in chosen.items():
            experiment = f"{_prefix(name, variant, short)}{seed}"
            if experiment not in there:
                _dvc("exp", "run", "--queue", "--name", experiment, *_overrides(settings | {"seed": seed}))
                yield experiment


def start(jobs: int) -> None:
    """Start DVC's workers, which go on when this process has ended."""
    _dvc("queue", "start", "--jobs", str(jobs))


def figures(name: str, recipe: Recipe, scores: list[str], short: bool) -> list[Figure]:
    """Return each score of each variant; without `scores`, those that the paper has, or accuracy on valid."""
    found = _refs()
    published = dict.fromkeys(score for entry in recipe.variants.values() for score in entry.paper)
    scores = scores or list(published) or ["valid.accuracy"]
    rows = []
    for variant, entry in recipe.variants.items():
        prefix = _prefix(name, variant, short)
        runs = [_scores(ref) for label, ref in sorted(found.items()) if _is_run(label, prefix)]
        for score in scores:
            values = [value for run in runs if (value := _at(run, score)) is not None]
            key = score
            if not values and score.startswith("test."):
                key = score.replace("test.", "valid.", 1)
                values = [value for run in runs if (value := _at(run, key)) is not None]
            rows.append(
                Figure(
                    variant,
                    score,
                    key if values else score,
                    len(values),
                    statistics.fmean(values) if values else None,
                    statistics.stdev(values) if len(values) > 1 else None,
                    entry.paper.get(score),
                )
            )
    return rows


def _is_run(label: str, prefix: str) -> bool:
    return label.startswith(prefix) and label.removeprefix(prefix).isdecimal()


def _overrides(settings: Settings) -> list[str]:
    """Return the arguments that set parameters, and those that bring what git does not have along: data, weights."""
    arguments = []
    for key, value in settings.items():
        arguments += ["--set-param", f"{key}={json.dumps(value)}"]
    for dataset in settings.get("datasets", []):
        if dataset != "sample" and (raw := RAW / dataset).exists():  # the sample is made by a stage
            arguments += ["--copy-paths", str(raw)]
    for key, value in settings.items():
        if key.startswith("models.") and key.endswith(".weights"):
            named = value.values() if isinstance(value, dict) else [value]
            files = (Path(weights) for weights in named if weights)
            for file in filter(Path.is_file, files):  # the others are a library's names
                arguments += ["--copy-paths", str(file)]
    return arguments


def _refs() -> dict[str, str]:
    """Return git's reference of each finished experiment by name; of two with one name, the newer one."""
    listed = _run("git", "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")
    refs = [ref for ref in listed.splitlines() if ref.split("/")[2] not in ("exec", "stash", "celery")]
    return {ref.rpartition("/")[2]: ref for ref in refs}


def _queued() -> set[str]:
    """Return the names of the experiments that wait or run."""
    from dvc.repo import Repo

    with Repo() as repo:
        tasks = repo.experiments.celery_queue
        return {
            entry.name for some in (tasks.iter_queued(), tasks.iter_active()) for entry in some if entry.name
        }


def _scores(ref: str) -> dict[str, Any]:
    return json.loads(_run("git", "show", f"{ref}:{SCORES.as_posix()}"))


def _at(values: Any, key: str) -> float | None:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _dvc(*arguments: str) -> str:
    return _run(sys.executable, "-m", "dvc", *arguments)


def _run(*command: str) -> str:
    # Into files: a pipe would stay open, and this wait for its end, as long as DVC's workers live.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        code = subprocess.run(command, stdout=out, stderr=errors, check=False).returncode
        out.seek(0)
        errors.seek(0)
        said = [line for line in errors if line.strip()] or ["no reason given"]
        if code:
            program = Path(command[0]).name if command[0] != sys.executable else "dvc"
            raise UserError(f"{program}: {one_line(said[-1])}")
        return out.read()
