"""A recipe's runs as DVC experiments: queue or submit them, follow them, and read their scores and predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from pipeline.core import git
from pipeline.core.errors import UserError, no_raw_data
from pipeline.experiments import jobs, provenance, queue, submission
from pipeline.experiments.queue import QueuedRun, RunState
from pipeline.experiments.recipes import Overrides, Recipe, applied, check, settings
from pipeline.tables.paths import INTERRUPTED, PREDICTIONS, RAW


class SweepStatus(NamedTuple):
    """State of a sweep.

    Attributes:
        finished: experiments whose scores are in git.
        stale: in which way the settings, code or data of finished experiments have changed since, by name.
        unfinished: the other runs in DVC's queue and in jobs, by name.
        durations: seconds of the finished runs that are still in the queue.
        workers: number of live workers of the queue.
    """

    finished: set[str]
    unfinished: dict[str, QueuedRun]
    durations: list[float]
    workers: int
    stale: Mapping[str, str] = MappingProxyType({})

    def of(self, state: RunState) -> list[QueuedRun]:
        """Return the unfinished runs in a state."""
        return [run for run in self.unfinished.values() if run.state == state]

    def left_alone(self) -> list[QueuedRun]:
        """Return the interrupted and lost runs of DVC's queue. If no worker lives, return the waiting runs too."""
        waiting = [] if self.workers else self.of(RunState.WAITING)
        runs = [*waiting, *self.of(RunState.INTERRUPTED), *self.of(RunState.LOST)]
        return [run for run in runs if not run.job]

    def seconds_left(self) -> float | None:
        """From the mean duration of this sweep's finished runs, estimate the seconds until all its runs have ended.

        None if no run has finished, no worker lives, or a run is in a job.
        """
        if not self.durations or not self.workers or any(run.job for run in self.unfinished.values()):
            return None
        mean = fmean(self.durations)
        running = [max(mean - run.elapsed(), 0.0) for run in self.of(RunState.RUNNING)]
        work = sum(running) + mean * len(self.of(RunState.WAITING))
        return max([work / self.workers, *running])


class Results(NamedTuple):
    """Hold what the finished runs of a sweep found, by row and seed.

    Attributes:
        evaluations: `metrics/evaluate.json` of each finished run that is not stale.
        predictions: their files of predictions; None if DVC's cache has lost one.
        stale: in which way the settings, code or data of the other runs have changed since.
    """

    evaluations: dict[str, dict[int, dict[str, Any]]]
    predictions: dict[str, dict[int, Path | None]]
    stale: dict[str, dict[int, str]]


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
        return f"{self.recipe.heading}{', short form' if self.short else ''}"

    def submit(
        self, rows: list[str], seeds: int, cluster: jobs.Cluster | None = None
    ) -> Iterator[tuple[str, str]]:
        """Queue a run of each row for each of the seeds 1, 2, ...

        Finished, waiting and running runs are left alone. Each call queues failed, interrupted and lost runs one more
        time. A stale run is renamed and queued anew.

        Args:
            rows: names of the rows.
            seeds: number of seeds.
            cluster: where each run is submitted as a job; None for DVC's queue.

        Yields:
            The name of each experiment that changed, and what was done.

        Raises:
            UserError: a value is not allowed, there are fewer folds than seeds, raw data is missing, changes are not
                committed, or another process is queueing; then nothing has been queued. Or DVC rejects an experiment,
                the cluster rejects a job, or a tracked file is saved; then the runs before this one have been queued.
        """
        overrides = {row: self.recipe.overrides(row, self.short) for row in rows}
        if 0 < self.recipe.folds < seeds:
            raise UserError.of("--seeds", seeds, f"at most {self.recipe.folds}, the recipe's `folds`")
        check(row | self.recipe.of_run(1) for row in overrides.values())
        datasets = dict.fromkeys(name for row in overrides.values() for name in row.get("datasets", []))
        for path in _raw_data(datasets):
            if not path.exists():
                raise no_raw_data(path)
        with submission.alone():
            submission.check_committed()
            wanted = {
                self.experiment(row, seed): values | self.recipe.of_run(seed)
                for seed in range(1, seeds + 1)
                for row, values in overrides.items()
            }
            stale = {name: reason for name, reason in self.stale().items() if name in wanted}
            yield from self._queue(wanted, stale, cluster)

    def resume(self) -> Iterator[tuple[str, str]]:
        """Queue the interrupted and lost runs of any row and seed again, those of DVC's queue.

        If another process is queueing runs, wait until it has finished.

        Yields:
            As `submit`.

        Raises:
            UserError: there are changes that are not committed, or DVC rejects an experiment.
        """
        with submission.alone(wait=True):
            wanted = {}
            for run in self.status().left_alone():
                found = self._row_and_seed(run.name)
                if found and run.state != RunState.WAITING:
                    wanted[run.name] = self.recipe.overrides(found[0], self.short) | self.recipe.of_run(
                        found[1]
                    )
            if wanted:
                submission.check_committed()
                yield from self._queue(wanted, {}, None)

    def _queue(
        self, wanted: dict[str, Overrides], stale: dict[str, str], cluster: jobs.Cluster | None
    ) -> Iterator[tuple[str, str]]:
        unfinished = self.status().unfinished
        ended = (RunState.FAILED, RunState.INTERRUPTED, RunState.LOST)
        again = {name: run for name, run in unfinished.items() if name in wanted and run.state in ended}
        reasons = {name: run.reason() for name, run in again.items()}
        killed = {name for name, run in again.items() if run.was_killed()}
        outdated = [run for name, run in queue.runs().items() if name in stale] if stale else []
        if in_queue := [*(run for run in again.values() if not run.job), *outdated]:
            queue.remove(in_queue)
        jobs.remove(run for run in again.values() if run.job)
        saved = queue.progress()
        finished = git.experiment_refs().keys() - stale.keys()
        for name, values in wanted.items():
            if name in again and name in finished:
                yield name, "finished, although its worker was killed"
            if name in finished or name in unfinished.keys() - again.keys():
                continue
            old = git.retire(name) if name in stale else ""
            progress = saved if name in killed else []
            paths = _paths(settings(values)) + [path for path in progress if path == INTERRUPTED]
            if cluster:
                done, job = "submitted", f"; {jobs.submit(cluster, name, applied(values), paths)}"
            else:
                submission.put(name, applied(values), paths)
                done, job = "queued", ""
            if name in again:
                resumes = "; it goes on from the saved progress" if progress else ""
                yield name, f"{done} again: {reasons[name]}{resumes}{job}"
            elif name in stale:
                yield name, f"{done} anew: {stale[name]}; the earlier run is now {old}{job}"
            else:
                yield name, f"{done}{job}"

    def status(self) -> SweepStatus:
        """Return the state of all runs of this sweep, for any row and seed."""
        # The order matters: a run that finishes between the two steps appears in both.
        queued = {name: run for name, run in (queue.runs() | jobs.runs()).items() if self._row_and_seed(name)}
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

    def checked_status(self) -> SweepStatus:
        """Return the state of all runs.

        Stale runs are under `stale`, not under `finished`. This reads every finished run and hashes code and data.
        """
        status, stale = self.status(), self.stale()
        return status._replace(finished=status.finished - stale.keys(), stale=stale)

    def stale(self) -> dict[str, str]:
        """Return why finished runs are stale, by the name of the experiment."""
        by_row = self.results().stale
        return {
            self.experiment(row, seed): why for row, seeds in by_row.items() for seed, why in seeds.items()
        }

    def row_counts(self, status: SweepStatus) -> dict[str, Counter[str]]:
        """Return the number of runs of each row in each state."""
        states = dict.fromkeys(status.finished, "finished") | dict.fromkeys(status.stale, "stale")
        states |= {name: run.state for name, run in status.unfinished.items()}
        counts: dict[str, Counter[str]] = {row: Counter() for row in self.recipe.rows()}
        for name, state in states.items():
            if found := self._row_and_seed(name):
                counts[found[0]][state] += 1
        return counts

    def results(self) -> Results:
        """Read the finished runs, and compare the settings, code and data of each with those of now."""
        rows = self.recipe.rows()
        results = Results({row: {} for row in rows}, {row: {} for row in rows}, {row: {} for row in rows})
        with queue.repository() as repo:
            md5_now = provenance.md5_in(repo)
            for row, seeds in self._refs().items():
                now = settings(self.recipe.overrides(row, self.short))
                for seed, ref in seeds.items():
                    run = provenance.read(ref)
                    if why := provenance.differences(run, now | self.recipe.of_run(seed), md5_now):
                        results.stale[row][seed] = why
                        continue
                    results.evaluations[row][seed] = run.evaluation
                    md5 = run.outputs.get(PREDICTIONS.as_posix())
                    path = Path(repo.cache.local.oid_to_path(md5)) if md5 else None
                    results.predictions[row][seed] = path if path and path.is_file() else None
        return results

    def _refs(self) -> dict[str, dict[int, str]]:
        """Return the git reference of each finished run, by row and seed."""
        refs: dict[str, dict[int, str]] = {row: {} for row in self.recipe.rows()}
        for name, ref in git.experiment_refs().items():
            if found := self._row_and_seed(name):
                refs[found[0]][found[1]] = ref
        return {row: dict(sorted(seeds.items())) for row, seeds in refs.items()}

    def experiment(self, row: str, seed: int) -> str:
        """Return the name of the experiment of a row and seed."""
        return f"{self._prefix(row)}-s{seed}"

    def _prefix(self, row: str) -> str:
        """Return the name of a row's experiments without the seed."""
        return f"{self.name}{'-short' if self.short else ''}-{row}".replace("_", "-")

    def _row_and_seed(self, experiment: str) -> tuple[str, int] | None:
        """Return the row and the seed of an experiment; None if it is not part of this sweep."""
        prefix, _, seed = experiment.rpartition("-s")
        row = {self._prefix(row): row for row in self.recipe.rows()}.get(prefix)
        return (row, int(seed)) if row and seed.isdecimal() else None


def _raw_data(datasets: Iterable[str]) -> list[Path]:
    """Return the folders of raw data that DVC does not track. A run gets a copy of them."""
    # DVC restores what it tracks: the output of the stage `sample`, and the folders of data/raw/*.dvc.
    raw = [RAW / dataset for dataset in datasets if dataset != "sample"]
    return [path for path in raw if not git.output("ls-files", f"{path}.dvc")]


def _paths(settings: Overrides) -> list[Path]:
    """Return the files and folders outside git that a run needs: raw data and weights."""
    raw = _raw_data(settings["datasets"])
    chosen = settings.get(f"models.{settings['model']}.weights")
    names = [settings["align.weights"], *(chosen.values() if isinstance(chosen, dict) else [chosen])]
    # A value that is no file is the name of published weights.
    weights = [Path(name) for name in names if name and Path(name).is_file()]
    return [path for path in raw if path.exists()] + weights
