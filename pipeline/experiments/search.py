"""Search a recipe's grid with Optuna: propose combinations of values, stop hopeless ones, and go on after a kill.

Each trial is the experiment of a row of the grid with seed 1. Optuna's tree-structured Parzen estimator proposes them
(Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"). A run is stopped at an epoch if its best score on
`valid` so far is below the median of the earlier trials at that epoch.

Optuna keeps the trials in a journal beside DVC's queue. The finished experiments are the truth: those that the journal
does not have are added, and if some have become stale, the journal begins anew with the others.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.core.locks import hold, release
from pipeline.experiments import overview, provenance, queue
from pipeline.experiments.queue import QueuedRun, RunState
from pipeline.experiments.recipes import settings
from pipeline.experiments.scores import score_at
from pipeline.experiments.sweep import Sweep, SweepStatus
from pipeline.tables.paths import PLOTS

if TYPE_CHECKING:
    import optuna

CURVES = PLOTS / "live/plots/metrics/valid"  # where a training writes its scores on `valid`, epoch by epoch
SEED = 1  # of each trial's experiment
STARTUP = 5  # trials that end before a run may be stopped
ASKS = 20  # proposals of combinations that were already tried, before one is drawn at random
TRIES = 3  # times in a row that workers are replaced without a trial that ends


class Search:
    """The search over the grid of a sweep's recipe for the highest score on `valid`.

    Args:
        sweep: the recipe, in its full or short form.
        score: `accuracy`, `macro_recall` or `macro_f1`.
        start_workers: starts workers of DVC's queue for waiting runs.

    Raises:
        UserError: the recipe has no grid, or Optuna is not installed.
    """

    def __init__(self, sweep: Sweep, score: str, start_workers: Callable[[], None]) -> None:
        self.sweep, self.score, self.start_workers = sweep, score, start_workers
        recipe = sweep.recipe
        if not recipe.grid:
            raise UserError.of(
                f"recipes/{sweep.name}.yaml: grid", "none", "keys, each with the values to search"
            )
        try:
            import optuna
        except ImportError:
            raise UserError("optuna is not installed: pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.rows = {
            tuple(row.params.values()): name
            for name, row in recipe.rows().items()
            if name not in recipe.variants
        }
        self.space: dict[str, optuna.distributions.BaseDistribution] = {
            key: optuna.distributions.CategoricalDistribution(values) for key, values in recipe.grid.items()
        }
        self.running: dict[str, optuna.trial.Trial] = {}

    def run(self, trials: int, jobs: int) -> Iterator[str]:
        """Run trials until the study has enough of them, or each combination was tried.

        Args:
            trials: number of finished and stopped trials, those of earlier calls included.
            jobs: number of trials at a time.

        Yields:
            A line for each trial that begins or ends.

        Raises:
            UserError: another process searches, changes are not committed, a value is not allowed, or workers end again
                and again.
        """
        with queue.repository() as repo:
            journal = Path(repo.tmp_dir, f"fer-search-{self.sweep.name}.log")
        journal.touch()
        try:
            lock = hold(journal)
        except OSError:
            raise UserError(
                f"another `fer recipe search {self.sweep.name}` is running; wait until it ends"
            ) from None
        try:
            yield from self._run(journal, trials, jobs)
        finally:
            release(lock)

    def _run(self, journal: Path, trials: int, jobs: int) -> Iterator[str]:
        from optuna.trial import Trial

        self.study = self._open(journal)
        earlier = self._trials("COMPLETE", "PRUNED")
        interrupted = self._trials("RUNNING")
        if earlier or interrupted:
            yield f"going on with a study of {len(earlier)} trials; {len(interrupted)} were interrupted"
        for trial in interrupted:
            yield from self._begin(Trial(self.study, trial._trial_id))
        failed: set[str] = set()
        lost = 0
        while True:
            count = len(self._trials("COMPLETE", "PRUNED")) + len(failed)
            while len(self.running) < jobs and count + len(self.running) < trials:
                tried = {self._row(trial.params) for trial in self._trials("COMPLETE", "PRUNED", "RUNNING")}
                untried = {values: row for values, row in self.rows.items() if row not in tried | failed}
                if not untried:
                    break
                self.study.enqueue_trial(dict(zip(self.space, self._proposal(untried), strict=True)))
                yield from self._begin(self.study.ask(self.space))
            if not self.running:
                return
            status = self.sweep.status()
            ended = list(self._ended(status, failed))
            yield from ended
            if status.left_alone() and not ended:
                lost += 1
                if lost > TRIES * overview.CHECKS:
                    raise UserError(f"{overview.no_worker(status)}; repeat the command to go on")
                if lost % overview.CHECKS == 0:  # a new worker takes a moment to appear
                    yield from (f"{name}: {change}" for name, change in self.sweep.resume())
                    self.start_workers()
            else:
                lost = 0
            if not ended:
                time.sleep(overview.INTERVAL)

    def best(self) -> tuple[str, float] | None:
        """Return the row with the highest score, and this score; None if no trial has finished."""
        found = [
            (self._row(trial.params), trial.value)
            for trial in self._trials("COMPLETE")
            if trial.value is not None
        ]
        return max(found, key=lambda pair: pair[1], default=None)

    def counts(self) -> tuple[int, int]:
        """Return the number of trials that have finished, and of those that were stopped."""
        return len(self._trials("COMPLETE")), len(self._trials("PRUNED"))

    def _open(self, journal: Path) -> optuna.Study:
        """Return the study of this grid and score, with the experiments that have finished."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        recipe, short = self.sweep.recipe, self.sweep.short
        rows = [settings(recipe.overrides(row, short)) for row in self.rows.values()]
        name = hashlib.md5(json.dumps([self.score, rows], sort_keys=True).encode()).hexdigest()
        epochs = min(row["train.epochs"] for row in rows)
        given: dict[str, Any] = {
            "storage": JournalStorage(JournalFileBackend(str(journal))),
            "study_name": name,
            "direction": "maximize",
            "pruner": optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=epochs // 3),
        }
        study = optuna.create_study(**given, load_if_exists=True)
        results = self.sweep.results()
        self.study = study
        if any(SEED in results.stale[self._row(trial.params)] for trial in self._trials("COMPLETE")):
            optuna.delete_study(study_name=name, storage=given["storage"])
            self.study = study = optuna.create_study(**given)
        known = {self._row(trial.params) for trial in self._trials("COMPLETE", "RUNNING")}
        for values, row in self.rows.items():
            value = score_at(results.evaluations[row].get(SEED, {}), f"valid.{self.score}")
            if value is not None and row not in known:
                params = dict(zip(self.space, values, strict=True))
                study.add_trial(
                    optuna.trial.create_trial(params=params, distributions=self.space, value=value)
                )
        return study

    def _trials(self, *states: str) -> list[optuna.trial.FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in states]

    def _row(self, params: dict[str, Any]) -> str:
        return self.rows[tuple(params[key] for key in self.space)]

    def _proposal(self, untried: dict[tuple[Any, ...], str]) -> tuple[Any, ...]:
        """Return the values of a combination that was not tried yet."""
        import optuna

        past = self.study.get_trials(deepcopy=False)
        # Asked for many, in memory: what the journal has are trials that ran.
        memory = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=len(past), constant_liar=True)
        )
        memory.add_trials(past)
        for _ in range(ASKS):
            params = memory.ask(self.space).params
            if (values := tuple(params[key] for key in self.space)) in untried:
                return values
        return random.Random(len(past)).choice(list(untried))

    def _begin(self, trial: optuna.trial.Trial) -> Iterator[str]:
        """Queue the experiment of a trial, unless it is waiting, running or finished already."""
        row = self._row(trial.params)
        self.running[row] = trial
        yield f"trial {trial.number}: {row}"
        for name, change in self.sweep.submit([row], SEED):
            yield f"{name}: {change}"
        if self.sweep.status().of(RunState.WAITING):
            self.start_workers()

    def _ended(self, status: SweepStatus, failed: set[str]) -> Iterator[str]:
        """Tell the study which trials have ended, and stop hopeless ones. Add rows that failed to `failed`."""
        from optuna.trial import TrialState

        refs = git.experiment_refs()
        for row, trial in list(self.running.items()):
            name = self.sweep.experiment(row, SEED)
            run = status.unfinished.get(name)
            # Only runs of DVC's queue are queued again.
            ended_early = bool(run and run.job and run.state == RunState.INTERRUPTED)
            if name in status.finished:
                value = score_at(provenance.read(refs[name]).evaluation, f"valid.{self.score}")
                why = "" if value is not None else f"it has no valid.{self.score}"
                ending = f"{self.score} {value:.4f}" if value is not None else ""
            elif run is None or run.state == RunState.FAILED or ended_early:
                value, why, ending = None, run.reason() if run else "it was removed from the queue", ""
            elif run.state == RunState.RUNNING and (epoch := self._hopeless_at(trial, run)) is not None:
                queue.stop(run)
                value, why, ending = None, "", f"stopped at epoch {epoch + 1}, below the median of the trials"
            else:
                continue
            del self.running[row]
            if why:
                self.study.tell(trial, state=TrialState.FAIL)
                failed.add(row)
                yield f"trial {trial.number}: failed: {why}"
            else:
                self.study.tell(trial, value, TrialState.COMPLETE if value is not None else TrialState.PRUNED)
                yield f"trial {trial.number}: {ending}"

    def _hopeless_at(self, trial: optuna.trial.Trial, run: QueuedRun) -> int | None:
        """Report the scores of a run's epochs so far. Return the epoch at which it should stop, or None."""
        copy = queue.copy_of(run)
        if copy is None or not (curve := copy / CURVES / f"{self.score}.tsv").is_file():
            return None
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for line in curve.read_text(encoding="utf-8").split("\n")[
            1:-1
        ]:  # behind the last end may be half a line
            epoch, _, value = line.partition("\t")
            if int(epoch) not in known:
                trial.report(float(value), int(epoch))
                if trial.should_prune():
                    return int(epoch)
        return None
