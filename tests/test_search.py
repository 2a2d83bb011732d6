"""`fer recipe search`: a search over a grid that is killed and goes on, in DVC's queue."""

from __future__ import annotations

import json
import os
import signal
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml

from pipeline.core import git
from pipeline.experiments import overview, search, workers
from pipeline.experiments.queue import QueuedRun, RunState
from pipeline.experiments.sweep import SweepStatus
from pipeline.stages.train import LIVE_CURVES
from tests import forked
from tests.test_recipes import (  # noqa: F401
    STAGE,
    TINY,
    commit,
    invoke,
    project,
    refused,
    repository,
    sweep,
    until,
    write,
)

GRID = {"augments.mixup.alpha": [0.1, 0.2, 0.4], "loss": ["softmax", "center"]}
# In the place of a training: the scores of the first three runs fall from run to run. Each waits until its curve was
# seen. A fourth one waits for ever.
SCORE = """
import json, os, pathlib, time, yaml
root = pathlib.Path(ROOT)
run = len(list(root.glob("runs-*")))
(root / f"runs-{run}").write_text(str(os.getpid()))
p = yaml.safe_load(open("params.yaml"))
(root / f"values-{run}").write_text(json.dumps([p["augments"]["mixup"]["alpha"], p["loss"]]))
curve = pathlib.Path("plots/live/plots/metrics/valid/accuracy.tsv")
curve.parent.mkdir(parents=True)
accuracy = 0.9 - run / 10
curve.write_text(f"step\\taccuracy\\n0\\t{accuracy - 0.1}\\n1\\t{accuracy}\\n")
journal = root / ".dvc/tmp/fer-search-tiny.log"
while run > 2 or journal.read_text().count('"step"') < 2 * run + 2:
    time.sleep(0.05)
pathlib.Path("metrics").mkdir(exist_ok=True)
json.dump({"valid": {"images": 8, "accuracy": accuracy}}, open("metrics/evaluate.json", "w"))
pathlib.Path("data").mkdir(exist_ok=True)
pathlib.Path("data/predictions.parquet").touch()
"""


def patch(programs: Path) -> None:
    """Have a process start workers and look at them without delay, and stop runs after three trials."""
    workers.sys = SimpleNamespace(executable=str(programs / "python"))  # type: ignore[attr-defined]
    overview.INTERVAL, search.STARTUP = 0.3, 3


def search_until_killed(programs: Path) -> None:
    patch(programs)
    forked.fer("recipe", "search", "tiny", "--short", "--trials", "4")


def studied(folder: Path) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / ".dvc/tmp/fer-search-tiny.log"))
    storage = optuna.storages.JournalStorage(backend)
    [summary] = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def test_the_curves_are_those_that_a_training_writes() -> None:
    assert LIVE_CURVES / "plots/metrics/valid" == search.CURVES


def test_what_cannot_be_searched_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert refused("search") == (
        "recipes/tiny.yaml: grid: found none, allowed: keys, each with the values to search"
    )
    write(TINY | {"grid": GRID})
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert refused("search") == "optuna is not installed: pip install optuna"


def test_a_trial_whose_job_has_ended_early_has_failed(
    project: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(TINY | {"grid": GRID})
    monkeypatch.setattr(git, "experiment_refs", dict)
    searching = search.Search(sweep(), "accuracy", lambda: None)
    searching.study = optuna.create_study()
    row = next(iter(searching.rows.values()))
    searching.running[row] = searching.study.ask(searching.space)
    name = searching.sweep.experiment(row, 1)
    run = QueuedRun(name, RunState.INTERRUPTED, Path("none"), None, "slurm job 7")
    failed: set[str] = set()
    told = list(searching._ended(SweepStatus(set(), {name: run}, [], 0), failed))
    assert told == ["trial 0: failed: slurm job 7 ended early: its log is empty"]
    assert (failed, searching.running) == ({row}, {})


def test_a_killed_search_goes_on_with_its_study(repository: Path, programs: Path, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(search, "STARTUP", 3)
    monkeypatch.setattr(overview, "INTERVAL", 0.3)
    Path("score.py").write_text(SCORE.replace("ROOT", repr(str(repository))))
    stage = deepcopy(STAGE)
    stage["stages"]["score"]["params"] += ["augments", "loss"]
    Path("dvc.yaml").write_text(yaml.safe_dump(stage))
    recipe = yaml.safe_load(Path("recipes/tiny.yaml").read_text())
    write(recipe | {"grid": GRID})
    Path(".gitignore").write_text(f"{Path('.gitignore').read_text()}values-*\nplots/\n")
    commit()
    killed = forked.start(search_until_killed, programs)
    until(Path("runs-1").exists)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    before = studied(repository)
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]

    printed = invoke("search", "--trials", "5")

    assert printed.startswith("going on with a study of 1 trials; 1 were interrupted\ntrial 1: alpha-")
    after = studied(repository)
    assert [trial.params for trial in after[:2]] == [trial.params for trial in before]
    assert [trial.state.name for trial in after] == ["COMPLETE"] * 3 + ["PRUNED"] * 2
    # Each trial ran once, with the values that the study has for it, and is an experiment.
    for number, trial in enumerate(after):
        values = [trial.params[key] for key in GRID]
        assert json.loads(Path(f"values-{number}").read_text()) == values
        name = f"tiny-short-alpha-{values[0]}-loss-{values[1]}-s1"
        assert (name in git.experiment_refs()) == (number < 3)
        if number < 3:
            assert trial.value == pytest.approx(0.9 - number / 10)
            assert f"trial {number}: accuracy {0.9 - number / 10:.4f}\n" in printed or not number
        else:
            assert f"trial {number}: stopped at epoch 1, below the median of the trials\n" in printed
    assert len({tuple(trial.params.values()) for trial in after}) == 5
    alpha, loss = (after[0].params[key] for key in GRID)
    assert f"best on valid: alpha-{alpha}_loss-{loss}, accuracy 0.9000." in printed
    # Enough trials: nothing runs.
    assert "3 trials have finished, 2 were stopped\n" in invoke("search", "--trials", "5")
    assert len(list(repository.glob("runs-*"))) == 5
