"""Runs of recipes as DVC experiments: put into its queue, and read back from git and DVC's cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pipeline.core.git import refs, run
from pipeline.experiments import queue as dvc_queue
from pipeline.experiments.comparison import Runs, Scores
from pipeline.experiments.queue import State, Task
from pipeline.experiments.recipes import Recipe, Settings, applied
from pipeline.tables.paths import METRICS, PREDICTIONS, RAW

SCORES = METRICS / "evaluate.json"


class Standing(NamedTuple):
    """Where the runs of a recipe stand.

    Attributes:
        finished: names of those whose scores git has.
        tasks: the others that DVC's queue knows, by name; one that has ended failed.
        took: seconds that finished ones took, of which the queue still knows.
        workers: how many of the queue's live.
    """

    finished: set[str]
    tasks: dict[str, Task]
    took: list[float]
    workers: int

    def of(self, state: State) -> list[Task]:
        """Return the unfinished runs in a state; those that failed for ENDED."""
        return [task for task in self.tasks.values() if task.state == state]

    def seconds_left(self) -> float | None:
        """Return about how long the queue will take, as runs have taken so far.

        None until one has finished, and where nothing works.
        """
        if not self.took or not self.workers:
            return None
        running = [max(fmean(self.took) - task.seconds(), 0.0) for task in self.of(State.RUNNING)]
        ahead = sum(running) + fmean(self.took) * len(self.of(State.WAITING))
        return max([ahead / self.workers, *running])


def _prefix(recipe: str, variant: str, short: bool) -> str:
    """Return what the names of a variant's runs have before the seed."""
    return f"{recipe}{'-short' if short else ''}-{variant}-s".replace("_", "-")


def queue(
    name: str, recipe: Recipe, variants: list[str], seeds: int, short: bool
) -> Iterator[tuple[str, str]]:
    """Put a run of each variant with each of the seeds 1, 2, ... into DVC's queue.

    A run that has finished, waits or runs is left as it is. One that failed or was cut off is put in again: once, as
    what runs is not looked at here.

    Yields:
        The name of each run that was put in, or taken up otherwise, and what there is to say about it.

    Raises:
        UserError: a setting is not allowed (nothing is queued then), or DVC refuses.
    """
    chosen = {variant: recipe.settings(variant, short) for variant in variants}
    for settings in chosen.values():
        applied(settings)
    wanted = {
        f"{_prefix(name, variant, short)}{seed}": settings | {"seed": seed}
        for seed in range(1, seeds + 1)
        for variant, settings in chosen.items()
    }
    standing = look(name, recipe, short)
    cut_off = {task.name for task in standing.of(State.CUT_OFF)} & wanted.keys()
    failed = {task.name: task.reason() for task in standing.of(State.ENDED) if task.name in wanted}
    unfinished = dvc_queue.take_out(cut_off | failed.keys()) if cut_off or failed else []
    finished = refs().keys()
    left_alone = finished | (standing.tasks.keys() - cut_off - failed.keys())
    for experiment, settings in wanted.items():
        if experiment in cut_off & finished:
            yield experiment, "had finished, although its worker was killed"
        if experiment in left_alone:
            continue
        dvc_queue.put(experiment, settings, _paths(settings) + (unfinished if experiment in cut_off else []))
        if experiment in cut_off:
            goes_on = "; unfinished training goes on" if unfinished else ""
            yield experiment, f"queued again, as its worker was killed{goes_on}"
        elif experiment in failed:
            yield experiment, f"queued again, after it failed: {failed[experiment]}"
        else:
            yield experiment, "queued"


def look(name: str, recipe: Recipe, short: bool) -> Standing:
    """Return where the runs of a recipe stand, whatever their row and seed."""
    prefixes = [_prefix(name, row, short) for row in recipe.rows()]
    # In this order: what finishes in between is seen twice.
    tasks = {
        label: task
        for label, task in dvc_queue.tasks().items()
        if any(_is_run(label, prefix) for prefix in prefixes)
    }
    finished = {label for label in refs() if any(_is_run(label, prefix) for prefix in prefixes)}
    took = [seconds for label in finished & tasks.keys() if (seconds := tasks[label].took) is not None]
    # One that succeeded, and whose commit is gone, was removed: as if it had never run.
    unfinished = {
        label: task
        for label, task in tasks.items()
        if label not in finished and not (task.state == State.ENDED and task.exit_code() == 0)
    }
    return Standing(finished, unfinished, took, dvc_queue.workers())


def row_counts(name: str, recipe: Recipe, short: bool) -> dict[str, dict[str, int]]:
    """Return how many runs of each row have finished, wait, run, failed and were cut off."""
    standing = look(name, recipe, short)
    counts = {}
    for row in recipe.rows():
        prefix = _prefix(name, row, short)
        own = [task.state for label, task in standing.tasks.items() if _is_run(label, prefix)]
        counts[row] = {
            "finished": sum(_is_run(label, prefix) for label in standing.finished),
            "running": own.count(State.RUNNING),
            "waiting": own.count(State.WAITING),
            "failed": own.count(State.ENDED),
            "cut off": own.count(State.CUT_OFF),
        }
    return counts


def runs(name: str, recipe: Recipe, short: bool) -> dict[str, Runs]:
    """Return the scores of every finished run, by row and seed."""
    return {
        row: {seed: _scores(ref) for seed, ref in found.items()}
        for row, found in _found(name, recipe, short).items()
    }


def predictions(name: str, recipe: Recipe, short: bool) -> dict[str, dict[int, Path | None]]:
    """Return the file of predictions of every finished run, by row and seed; None where DVC's cache has it no more."""
    with dvc_queue.repository() as repo:
        cache = repo.cache.local

        def file(ref: str) -> Path | None:
            md5 = _md5(run("git", "show", f"{ref}:dvc.lock"))
            path = Path(cache.oid_to_path(md5)) if md5 else None
            return path if path and path.is_file() else None

        return {
            row: {seed: file(ref) for seed, ref in found.items()}
            for row, found in _found(name, recipe, short).items()
        }


def _md5(lock: str) -> str | None:
    """Return the hash of the predictions in the text of a `dvc.lock`; None where no stage writes them."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(lock).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return next((out["md5"] for out in outs if out["path"] == PREDICTIONS.as_posix()), None)


def _found(name: str, recipe: Recipe, short: bool) -> dict[str, dict[int, str]]:
    """Return git's reference of every finished run, by row and seed."""
    existing = refs()
    found = {}
    for row in recipe.rows():
        prefix = _prefix(name, row, short)
        seeds = {
            int(label.removeprefix(prefix)): ref for label, ref in existing.items() if _is_run(label, prefix)
        }
        found[row] = dict(sorted(seeds.items()))
    return found


def _is_run(label: str, prefix: str) -> bool:
    return label.startswith(prefix) and label.removeprefix(prefix).isdecimal()


def _paths(settings: Settings) -> list[Path]:
    """Return what git does not have and a run needs: data and weights."""
    # The sample is made by a stage.
    raw = [RAW / dataset for dataset in settings.get("datasets", []) if dataset != "sample"]
    weights: list[Path] = []
    for key, value in settings.items():
        if key.startswith("models.") and key.endswith(".weights"):
            named = value.values() if isinstance(value, dict) else [value]
            weights += [
                Path(file) for file in named if file and Path(file).is_file()
            ]  # others are a library's
    return [path for path in raw if path.exists()] + weights


def _scores(ref: str) -> Scores:
    return json.loads(run("git", "show", f"{ref}:{SCORES.as_posix()}"))
