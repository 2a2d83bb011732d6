"""Runs of recipes as DVC experiments: put into its queue, and read back from git."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import psutil

from pipeline.comparison import Runs, Scores, at
from pipeline.errors import UserError, one_line
from pipeline.paths import METRICS, RAW
from pipeline.progress import bar
from pipeline.recipes import Recipe, Settings, applied

SCORES = METRICS / "evaluate.json"
LOOK = 5.0  # seconds between two looks at the queue
# Looks in a row without a worker after which there is none: one that was just started has no process at once.
LOOKS = 3


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


class Tasks(NamedTuple):
    """Names of the experiments in DVC's queue that have not ended; one of `running` may have lost its worker."""

    waiting: set[str]
    running: set[str]


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
    there = set(refs()).union(*_tasks())
    for seed in range(1, seeds + 1):
        for variant, settings in chosen.items():
            experiment = f"{_prefix(name, variant, short)}{seed}"
            if experiment not in there:
                _dvc("exp", "run", "--queue", "--name", experiment, *_overrides(settings | {"seed": seed}))
                yield experiment


def start(jobs: int) -> None:
    """Start DVC's workers, which go on when this process has ended."""
    _dvc("queue", "start", "--jobs", str(jobs))


def pending(name: str, recipe: Recipe, short: bool) -> Tasks:
    """Return the runs of a recipe, whatever their row and seed, that wait or run."""
    prefixes = [_prefix(name, variant, short) for variant in recipe.variants]
    waiting, running = (
        {label for label in some if any(_is_run(label, prefix) for prefix in prefixes)} for some in _tasks()
    )
    return Tasks(waiting, running)


def wait(names: set[str]) -> list[str]:
    """Wait until experiments have ended; return the names of those that failed.

    Raises:
        UserError: some are left, and DVC's queue has no worker.
    """
    left = names
    lonely = 0
    with bar(len(names), desc="experiments", unit="runs", shows=bool(names)) as shown:
        while left:
            tasks = _tasks()
            still = left & (tasks.waiting | tasks.running)
            if still != left or sys.stderr.isatty():  # there the time goes on; a log needs no line for it
                shown.n = len(names - still)
                shown.refresh()
            left = still
            lonely = lonely + 1 if left and not _works() else 0
            if lonely == LOOKS:
                raise _deserted(left & tasks.waiting, left & tasks.running)
            if left:
                time.sleep(LOOK)
    return sorted(names - refs().keys())


def runs(name: str, recipe: Recipe, short: bool) -> dict[str, Runs]:
    """Return the scores of every finished run, by variant and seed."""
    found = refs()
    rows: dict[str, Runs] = {}
    for variant in recipe.variants:
        prefix = _prefix(name, variant, short)
        labels = sorted(label for label in found if _is_run(label, prefix))
        rows[variant] = {int(label.removeprefix(prefix)): _scores(found[label]) for label in labels}
    return rows


def figures(name: str, recipe: Recipe, scores: list[str], short: bool) -> list[Figure]:
    """Return each score of each variant; without `scores`, those that the paper has, or accuracy on valid."""
    published = dict.fromkeys(score for entry in recipe.variants.values() for score in entry.paper)
    scores = scores or list(published) or ["valid.accuracy"]
    rows = []
    for variant, seeds in runs(name, recipe, short).items():
        for score in scores:
            values = [value for run in seeds.values() if (value := at(run, score)) is not None]
            key = score
            if not values and score.startswith("test."):
                key = score.replace("test.", "valid.", 1)
                values = [value for run in seeds.values() if (value := at(run, key)) is not None]
            rows.append(
                Figure(
                    variant,
                    score,
                    key if values else score,
                    len(values),
                    statistics.fmean(values) if values else None,
                    statistics.stdev(values) if len(values) > 1 else None,
                    recipe.variants[variant].paper.get(score),
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


def refs() -> dict[str, str]:
    """Return git's reference of each finished experiment by name; of two with one name, the newer one."""
    listed = _run("git", "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")
    refs = [ref for ref in listed.splitlines() if ref.split("/")[2] not in ("exec", "stash", "celery")]
    return {ref.rpartition("/")[2]: ref for ref in refs}


def _tasks() -> Tasks:
    from dvc.repo import Repo

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        # In this order: what moves from one to the other in between is seen.
        waiting = {entry.name for entry in queue.iter_queued() if entry.name}
        return Tasks(waiting, {entry.name for entry in queue.iter_active() if entry.name})


def _works() -> bool:
    """Return whether a worker of this repository's queue lives.

    Its process is looked for: a worker that was told to stop finishes its experiment, but answers DVC no more.
    """
    return any(
        "queue-worker" in (process.info["cmdline"] or [])
        and process.info["cwd"]
        and Path(process.info["cwd"]).is_relative_to(Path.cwd())
        for process in psutil.process_iter(["cmdline", "cwd"])
    )


def _deserted(waiting: set[str], running: set[str]) -> UserError:
    """Return the error of a queue without workers: what to do about experiments that wait, and that were cut off."""
    if running:
        names = " ".join(sorted(running))
        return UserError(
            f"DVC's queue has no worker, which cut off {len(running)} experiments: `dvc queue kill {names}`, again "
            "until `dvc queue status` says that they failed, then the same command once more"
        )
    return UserError(
        f"DVC's queue has no worker, and {len(waiting)} experiments wait: `dvc queue start` goes on with them"
    )


def _scores(ref: str) -> Scores:
    return json.loads(_run("git", "show", f"{ref}:{SCORES.as_posix()}"))


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
