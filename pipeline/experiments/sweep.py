"""A recipe's runs as DVC experiments: queue them, follow them, and read their scores and predictions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from pipeline.core import git, programs
from pipeline.experiments import queue
from pipeline.experiments.queue import QueuedRun, RunState
from pipeline.experiments.recipes import Overrides, Recipe, check
from pipeline.tables.paths import METRICS, PREDICTIONS, RAW


class SweepStatus(NamedTuple):
    """State of a sweep.

    Attributes:
        finished: experiments whose scores are in git.
        unfinished: the other runs in DVC's queue, by name.
        durations: seconds of the finished runs that are still in the queue.
        workers: number of live workers of the queue.
    """

    finished: set[str]
    unfinished: dict[str, QueuedRun]
    durations: list[float]
    workers: int

    def of(self, state: RunState) -> list[QueuedRun]:
        """Return the unfinished runs in a state."""
        return [run for run in self.unfinished.values() if run.state == state]

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the queue is empty from the mean duration of the finished runs.

        None if no run has finished or no worker lives.
        """
        if not self.durations or not self.workers:
            return None
        mean = fmean(self.durations)
        running = [max(mean - run.elapsed(), 0.0) for run in self.of(RunState.RUNNING)]
        work = sum(running) + mean * len(self.of(RunState.WAITING))
        return max([work / self.workers, *running])


class Sweep(NamedTuple):
    """A recipe in its full or short form. Each row and seed is one DVC experiment.

    Attributes:
        name: name of the recipe.
        recipe: its content.
        short: whether the short form runs.
    """

    name: str
    recipe: Recipe
    short: bool

    @property
    def title(self) -> str:
        """Return the heading of the sweep's table."""
        return f"{self.recipe.title} ({self.recipe.source}){', short form' if self.short else ''}"

    def submit(self, rows: list[str], seeds: int) -> Iterator[tuple[str, str]]:
        """Queue a run of each row for each of the seeds 1, 2, ...

        Finished, waiting and running runs are left alone. Each call queues failed and interrupted runs one more time.

        Yields:
            The name of each experiment that changed, and what was done.

        Raises:
            UserError: a value is not allowed (then nothing is queued), or DVC rejects an experiment.
        """
        overrides = {row: self.recipe.overrides(row, self.short) for row in rows}
        check(overrides.values())
        wanted = {
            f"{self._prefix(row)}-s{seed}": values | {"seed": seed}
            for seed in range(1, seeds + 1)
            for row, values in overrides.items()
        }
        unfinished = self.status().unfinished
        again = {
            name: run
            for name, run in unfinished.items()
            if name in wanted and run.state in (RunState.FAILED, RunState.INTERRUPTED)
        }
        checkpoints = queue.remove(again.values()) if again else []
        finished = git.experiment_refs().keys()
        for name, values in wanted.items():
            interrupted = name in again and again[name].state == RunState.INTERRUPTED
            if name in again and name in finished:
                yield name, "finished, although its worker was killed"
            if name in finished or name in unfinished.keys() - again.keys():
                continue
            queue.put(name, values, _paths(values) + (checkpoints if interrupted else []))
            if name in again:
                resumes = "; training resumes" if interrupted and checkpoints else ""
                yield name, f"queued again: {again[name].reason()}{resumes}"
            else:
                yield name, "queued"

    def status(self) -> SweepStatus:
        """Return the state of all runs of this sweep, for any row and seed."""
        # The order matters: a run that finishes between the two steps appears in both.
        queued = {name: run for name, run in queue.runs().items() if self._row_and_seed(name)}
        finished = {name for name in git.experiment_refs() if self._row_and_seed(name)}
        durations = [queued[name].duration for name in finished & queued.keys()]
        known = [duration for duration in durations if duration is not None]
        # A run that succeeded but has no commit was removed by the user. It counts as never run.
        unfinished = {
            name: run
            for name, run in queued.items()
            if name not in finished and run.state != RunState.SUCCEEDED
        }
        return SweepStatus(finished, unfinished, known, len(queue.workers()))

    def row_counts(self) -> dict[str, Counter[str]]:
        """Return the number of runs of each row in each state."""
        status = self.status()
        states = dict.fromkeys(status.finished, "finished")
        states |= {name: run.state for name, run in status.unfinished.items()}
        counts: dict[str, Counter[str]] = {row: Counter() for row in self.recipe.rows()}
        for name, state in states.items():
            if found := self._row_and_seed(name):
                counts[found[0]][state] += 1
        return counts

    def evaluations(self) -> dict[str, dict[int, dict[str, Any]]]:
        """Return `metrics/evaluate.json` of each finished run, by row and seed."""
        path = METRICS / "evaluate.json"
        return {
            row: {seed: json.loads(_committed(ref, path)) for seed, ref in seeds.items()}
            for row, seeds in self._refs().items()
        }

    def predictions(self) -> dict[str, dict[int, Path | None]]:
        """Return the file of predictions of each finished run, by row and seed; None if DVC's cache has lost it."""
        with queue.repository() as repo:
            return {
                row: {seed: _cached_predictions(repo, ref) for seed, ref in seeds.items()}
                for row, seeds in self._refs().items()
            }

    def _refs(self) -> dict[str, dict[int, str]]:
        """Return the git reference of each finished run, by row and seed."""
        refs: dict[str, dict[int, str]] = {row: {} for row in self.recipe.rows()}
        for name, ref in git.experiment_refs().items():
            if found := self._row_and_seed(name):
                refs[found[0]][found[1]] = ref
        return {row: dict(sorted(seeds.items())) for row, seeds in refs.items()}

    def _prefix(self, row: str) -> str:
        """Return the name of a row's experiments without the seed."""
        return f"{self.name}{'-short' if self.short else ''}-{row}".replace("_", "-")

    def _row_and_seed(self, experiment: str) -> tuple[str, int] | None:
        """Return the row and the seed of an experiment; None if it is not part of this sweep."""
        prefix, _, seed = experiment.rpartition("-s")
        row = {self._prefix(row): row for row in self.recipe.rows()}.get(prefix)
        return (row, int(seed)) if row and seed.isdecimal() else None


def _committed(ref: str, path: Path) -> str:
    return programs.output("git", "show", f"{ref}:{path.as_posix()}")


def _cached_predictions(repo: Any, ref: str) -> Path | None:
    """Return the path in DVC's cache of the predictions of a commit; None if the cache does not have them.

    DVC's `repo.switch` also reads the stages of the commit, which takes 0.17 s instead of 0.04 s.
    """
    stages = YAML(typ="safe").load(_committed(ref, Path("dvc.lock"))).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    md5 = next((out["md5"] for out in outs if out["path"] == PREDICTIONS.as_posix()), None)
    path = Path(repo.cache.local.oid_to_path(md5)) if md5 else None
    return path if path and path.is_file() else None


def _paths(overrides: Overrides) -> list[Path]:
    """Return the files and folders outside git that a run needs: raw data and weights."""
    # The raw files of `sample` are not copied: the stage `sample` generates them in each run's checkout.
    raw = [RAW / dataset for dataset in overrides.get("datasets", []) if dataset != "sample"]
    weights: list[Path] = []
    for key, value in overrides.items():
        if key.startswith("models.") and key.endswith(".weights"):
            names = value.values() if isinstance(value, dict) else [value]
            # A value that is no file is the name of a library's published weights.
            weights += [Path(name) for name in names if name and Path(name).is_file()]
    return [path for path in raw if path.exists()] + weights
