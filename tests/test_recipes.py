"""Recipes: parameters without lost comments, runs through DVC's queue, figures beside the paper's."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from rich.console import Console
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.experiments import overview, recipes
from pipeline.experiments import runs as experiments
from pipeline.experiments.queue import State, Task
from pipeline.experiments.runs import Standing

ROOT = Path(__file__).parents[1]
ROWS = [
    (path.stem, variant)
    for path in sorted((ROOT / "recipes").glob("*.yaml"))
    for variant in recipes.Recipe.model_validate(yaml.safe_load(path.read_text())).rows()
]
TINY = {
    "title": "Tiny",
    "source": "nowhere",
    "runs": 2,
    "params": {"train.epochs": 7, "gan": "none"},
    "short": {"train.epochs": 1},
    "variants": {
        "plain": {"params": {"augment": "none"}, "paper": {"test.accuracy": 0.5}},
        "mixed": {"params": {"augment": "mixup", "augments.mixup.alpha": 0.2}},
    },
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("recipes").mkdir()
    write(TINY)
    return tmp_path


def write(recipe: dict, name: str = "tiny") -> None:
    Path(f"recipes/{name}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


@pytest.mark.parametrize(("name", "variant"), ROWS)
@pytest.mark.parametrize("short", [False, True])
def test_every_row_of_every_recipe_is_allowed(name, variant, short, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = recipes.load(name)
    settings = recipe.settings(variant, short)
    found = YAML(typ="safe").load(recipes.applied(settings))
    for key, value in settings.items():
        block = found
        for part in key.split("."):
            block = block[part]
        assert block == value
    assert recipe.short
    assert all(key.split(".")[0] in ("train", "valid", "test") for key in recipe.rows()[variant].paper)


def test_a_recipe_changes_values_and_no_comment(project):
    before = Path("params.yaml").read_text()
    settings = {
        "datasets": ["ferplus", "rafdb"],
        "augment": "mixcut",
        "train.epochs": 250,
        "gans.classes": ["fear"],
    }
    recipes.apply(settings)
    after = Path("params.yaml").read_text()
    comments = re.compile("#.*")
    assert comments.findall(after) == comments.findall(before)
    changed = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert [line.split("#")[0].strip() for line in changed] == [
        "datasets: [ferplus, rafdb]",
        "augment: mixcut",
        "classes: [fear]",
        "epochs: 250",
    ]
    assert params.load().train.epochs == 250
    recipes.apply({})
    assert Path("params.yaml").read_text() == after


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"train.epoch": 3}, "params.yaml: train.epoch: found no such key, which a recipe sets"),
        ({"nothing.at.all": 3}, "params.yaml: nothing.at.all: found no such key, which a recipe sets"),
        ({"train.epochs": -1}, "params.yaml: train.epochs: found -1, allowed: greater than or equal to 1"),
        ({"augment": "mixcat"}, "params.yaml: augment: found 'mixcat', allowed: one of "),
    ],
)
def test_what_is_not_allowed_changes_nothing(project, settings, line):
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError) as refused:
        recipes.apply({"seed": 5} | settings)
    assert str(refused.value).startswith(line)
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"runs": 0}, "recipes/tiny.yaml: runs: "),
        (
            {"variants": {}},
            "recipes/tiny.yaml: found neither variants nor a grid, allowed: one of them or both",
        ),
        ({"grid": {"loss": []}}, "recipes/tiny.yaml: grid.loss: "),
        ({"grid": {"loss": [["softmax"]]}}, "recipes/tiny.yaml: grid.loss.0"),
        (
            {"grid": {"train.epochs": [1, 2]}},
            "recipes/tiny.yaml: grid: found train.epochs, which the short form or a run sets",
        ),
        (
            {"grid": {"loss": ["softmax", "Softmax"]}},
            "recipes/tiny.yaml: found rows whose experiments would have the same name",
        ),
        (
            {"variants": {"a": {"paper": {"test.accuracy": 85.6}}}},
            "recipes/tiny.yaml: variants.a.paper.test.accuracy: ",
        ),
        ({"shorts": {}}, "recipes/tiny.yaml: shorts: "),
    ],
)
def test_a_recipe_that_is_none_is_refused_in_one_line(project, change, line):
    write(TINY | change)
    with pytest.raises(UserError) as refused:
        recipes.load("tiny")
    assert str(refused.value).startswith(line)
    with pytest.raises(UserError, match=r"recipe: found 'tine', allowed: tiny"):
        recipes.load("tine")
    Path("recipes/tiny.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"recipes/tiny\.yaml: not valid YAML"):
        recipes.load("tiny")


# A stage that scores what it was told, so that what runs is DVC's queue and git alone. It says that it runs, and goes
# on when the file that holds it is gone.
SCORE = """
import json, os, pathlib, sys, time
import pyarrow as pa, pyarrow.parquet as pq, yaml
p = yaml.safe_load(open("params.yaml"))
if p["augment"] == "cutout":
    sys.exit("cut out")
checkpoint = pathlib.Path("models/checkpoints") / f"{p['augment']}-{p['seed']}"
resumed = checkpoint.exists()
checkpoint.parent.mkdir(parents=True, exist_ok=True)
checkpoint.touch()
root = pathlib.Path(ROOT)
(root / f"runs-{checkpoint.name}").write_text(str(os.getpid()))
while (root / f"hold-{checkpoint.name}").exists():
    time.sleep(0.1)
accuracy = p["seed"] / 10 + (0.01 if p["augment"] == "mixup" else 0) + p["train"]["epochs"] / 1000
raw = sum(1 for _ in pathlib.Path("data/raw/folder").iterdir())
pathlib.Path("metrics").mkdir(exist_ok=True)
weights = pathlib.Path("weights.safetensors").stat().st_size
valid = {"accuracy": accuracy, "raw": raw, "weights": weights, "resumed": int(resumed)}
json.dump({"valid": valid}, open("metrics/evaluate.json", "w"))
said = ["b"] * 8 if p["augment"] == "mixup" else ["a"] * 8
table = {"id": [str(i) for i in range(8)], "split": ["valid"] * 8, "label": ["b"] * 8, "predicted": said}
pq.write_table(pa.table(table), "data/predictions.parquet")
"""
STAGE = {
    "stages": {
        "score": {
            "cmd": f"{sys.executable} score.py",
            "deps": ["score.py", "data/raw/folder"],
            "params": ["seed", "augment", "train"],
            "outs": ["data/predictions.parquet"],
            "metrics": [{"metrics/evaluate.json": {"cache": False}}],
        }
    }
}


@pytest.fixture
def repository(project, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "fer")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "fer@example.org")
    monkeypatch.setattr(overview, "LOOK", 0.5)
    monkeypatch.setattr(overview, "LOOKS", 60)  # 30 seconds for a worker's start on a loaded machine
    Path("score.py").write_text(SCORE.replace("ROOT", repr(str(project))))
    Path("dvc.yaml").write_text(yaml.safe_dump(STAGE))
    Path("data/raw/folder").mkdir(parents=True)
    Path("data/raw/folder/a.png").write_bytes(b"a")
    Path("weights.safetensors").write_bytes(b"123")
    Path(".gitignore").write_text("/data/\n/models/\n*.safetensors\nruns-*\nhold-*\n")
    settings = {"datasets": ["folder"], "models.resnet18.weights": "weights.safetensors"}
    write(TINY | {"params": TINY["params"] | settings})
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, check=True)
    subprocess.run(["git", "commit", "-qm", "first"], check=True)
    yield project
    left = [process for process in processes(project) if process.pid != os.getpid()]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
    psutil.wait_procs(left)


def processes(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in found if (process.info["cwd"] or "").startswith(str(folder))]


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < end, "DVC's queue did not get there"
        time.sleep(0.2)


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recipe", *arguments, "tiny", "--short"])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_sweep_survives_the_kill_of_a_run_and_of_its_queue(repository):
    holds = {name: Path(f"hold-{name}") for name in ("none-1", "mixup-1", "none-2", "mixup-2")}
    for hold in holds.values():
        hold.touch()
    assert invoke("run", "--jobs", "2").count(": queued\n") == 4
    until(lambda: Path("runs-none-1").exists() and Path("runs-mixup-1").exists())
    shown = invoke("status")
    assert shown.startswith("0 done, 2 running, 2 waiting")

    # One run is killed: its worker says that it failed, and takes the next one.
    os.kill(int(Path("runs-none-1").read_text()), signal.SIGKILL)
    until(lambda: Path("runs-none-2").exists())
    # Then all workers: what they ran has no one who collects it. One run ends even so.
    for process in processes(repository):
        if "queue-worker" in process.info["cmdline"]:
            process.kill()
    shown = " ".join(invoke("status").split())
    assert shown.startswith("0 done, 1 waiting, 1 failed, 2 cut off")
    assert "tiny-short-plain-s1 failed score: killed by signal 9 (SIGKILL)" in shown
    # The stage's process is the child of DVC's, which looks after the whole run.
    ended = psutil.Process(int(Path("runs-mixup-1").read_text())).parent()
    holds["mixup-1"].unlink()
    until(lambda: not ended.is_running() or ended.status() == psutil.STATUS_ZOMBIE)
    orphan = int(Path("runs-none-2").read_text())
    assert psutil.pid_exists(orphan)

    said = invoke("run", "--jobs", "2")
    assert "plain-s1: queued again, after it failed: score: killed by signal 9 (SIGKILL)\n" in said
    assert "mixed-s1: had finished, although its worker was killed\n" in said
    assert "plain-s2: queued again, as its worker was killed; unfinished training goes on\n" in said
    assert "mixed-s2" not in said
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE

    for hold in holds.values():
        hold.unlink(missing_ok=True)
    printed = invoke("run", "--jobs", "2", "--wait")
    assert "4 done" in printed
    assert re.search(r"\| plain +\| 2 +\| 0\.1510 ± 0\.0707 \| 0\.5000 +\| - +\| - +\| - +\|", printed)
    # Eight images that one row alone finds, in two seeds: 2 / 2^8.
    cells = r"\| 0\.1610 ± 0\.0707 \| - +\| \+0\.0100 \[\+0\.0100, \+0\.0100\] \* \| 0\.0078 +\| 0\.0002 +\|"
    assert re.search(r"\| mixed +\| 2 +" + cells, printed)
    assert printed[printed.index("Tiny (nowhere), short form") :] == invoke("table")
    assert "seed: 1 " in Path("params.yaml").read_text()

    rows = experiments.runs("tiny", recipes.load("tiny"), short=True)
    resumed = {
        (row, seed): run["valid"]["resumed"] for row, runs in rows.items() for seed, run in runs.items()
    }
    assert resumed == {("plain", 1): 0, ("plain", 2): 1, ("mixed", 1): 0, ("mixed", 2): 0}
    assert {
        (run["valid"]["raw"], run["valid"]["weights"]) for runs in rows.values() for run in runs.values()
    } == {(1, 3)}
    assert not any(experiments.runs("tiny", recipes.load("tiny"), short=False).values())
    assert ": queued" not in invoke("run")
    assert re.search(r"\| plain +\| augment: none +\| test\.accuracy 0\.5000 \| 2 finished", invoke("show"))

    subprocess.run([sys.executable, "-m", "dvc", "exp", "remove", "-q", "tiny-short-mixed-s2"], check=True)
    assert invoke("status") == "3 done\n"
    shutil.rmtree(".dvc/cache/files")  # as `dvc gc` would
    without = invoke("table")
    assert re.search(r"\| mixed +\| 1 +\| 0\.1110 +\| - +\| \+0\.0100 \[-\] +\| - +\|", without)
    assert "- plain: predictions of seeds 1, 2 are not in DVC's cache, and not tested" in without


def test_a_run_that_waits_prints_the_table_and_says_why_runs_failed(repository):
    recipe = recipes.load("tiny").model_dump()
    write(recipe | {"variants": recipe["variants"] | {"cut": {"params": {"augment": "cutout"}}}})
    # What waits already, after a restart of the machine for example, is started and waited for as well.
    assert len(list(experiments.queue("tiny", recipes.load("tiny"), ["plain"], 1, True))) == 1

    done = CliRunner().invoke(
        app, ["recipe", "run", "tiny", "--short", "--seeds", "1", "--jobs", "2", "--wait"]
    )

    assert done.output.count(": queued\n") == 2
    assert "2 done, 1 failed\n" in done.output
    assert "tiny-short-cut-s1 failed: score: cut out\n" in done.output
    assert re.search(r"\| mixed +\| 1 +\| 0\.1110 +\| - +\| \+0\.0100 \[-\] +\|", done.output)
    assert done.exit_code == 1
    assert str(done.exception).startswith(
        "1 runs did not finish: tiny-short-cut-s1: score: cut out (the same"
    )


def standing(finished: set[str], **states: str) -> Standing:
    tasks = {name: Task(name, State(state), Path("nowhere"), None) for name, state in states.items()}
    return Standing(finished, tasks, [], 0)


def test_waiting_ends_where_no_worker_is_left(monkeypatch):
    monkeypatch.setattr(overview, "LOOK", 0.01)
    with pytest.raises(UserError, match="has no worker, and 1 runs wait: the same command goes on with them"):
        overview.follow(lambda: standing(set(), a="waiting", b="ended"), Console(file=io.StringIO()))


def test_a_log_gets_a_line_for_every_change(monkeypatch):
    monkeypatch.setattr(overview, "LOOK", 0.01)
    looks = [
        standing(set(), a="running", b="waiting"),
        standing(set(), a="running", b="waiting"),
        standing({"a"}, b="running"),
        standing({"a"}, b="ended"),
    ]
    text = io.StringIO()
    assert overview.follow(iter(looks).__next__, Console(file=text, width=200)) == looks[-1]
    assert text.getvalue().splitlines() == [
        "0 done, 1 running, 1 waiting",
        "1 done, 1 running",
        "b failed: ended before it began; .dvc/tmp/exps/celery/dvc-exp-worker-*.out say why",
        "1 done, 1 failed",
    ]


def test_the_time_left_is_that_of_runs_so_far(tmp_path):
    (tmp_path / f"{tmp_path.name}.pid").touch()
    running = Task("a", State.RUNNING, tmp_path, None)
    waiting = {name: Task(name, State.WAITING, tmp_path, None) for name in "bcd"}
    look = Standing({"x", "y"}, {"a": running} | waiting, [50.0, 70.0], 2)
    assert look.seconds_left() == pytest.approx((60 + 3 * 60) / 2, abs=1)
    assert look._replace(tasks={"a": running}).seconds_left() == pytest.approx(60, abs=1)
    assert look._replace(took=[]).seconds_left() is None
    assert look._replace(workers=0).seconds_left() is None


FAILED = "ERROR: failed to reproduce 'train': failed to run: python -m pipeline train, exited with "


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (255, f"x\rtrain: 10%\r\nfer: no faces\n{FAILED}1\n{FAILED}1\n", "train: no faces"),
        (255, f"> python -m pipeline train\n{FAILED}137\n", "train: killed by signal 9 (SIGKILL)"),
        (
            255,
            "ERROR: failed to reproduce 'a': [Errno 2] No file\n",
            "failed to reproduce 'a': [Errno 2] No file",
        ),
        (-15, "anything", "killed by signal 15 (SIGTERM)"),
        (255, "", "its log is empty"),
    ],
)
def test_a_failure_says_why(tmp_path, code, log, reason):
    (tmp_path / f"{tmp_path.name}.json").write_text(json.dumps({"returncode": code}))
    (tmp_path / f"{tmp_path.name}.out").write_text(log)
    assert Task("a", State.ENDED, tmp_path, None).reason() == reason


def test_a_grid_makes_a_row_of_each_combination(project):
    grid = {"augments.mixup.alpha": [0.1, 1.0], "loss": ["softmax", "center"]}
    write(TINY | {"grid": grid})
    recipe = recipes.load("tiny")
    rows = [f"alpha-{alpha}_loss-{loss}" for alpha in ("0.1", "1.0") for loss in ("softmax", "center")]
    assert list(recipe.rows()) == ["plain", "mixed", *rows]
    assert recipe.settings("alpha-0.1_loss-center", False) == TINY["params"] | {
        "augments.mixup.alpha": 0.1,
        "loss": "center",
    }
    write({key: value for key, value in TINY.items() if key != "variants"} | {"grid": grid})
    assert list(recipes.load("tiny").rows()) == rows
    # Where two keys end alike, rows carry all of them.
    write(TINY | {"grid": {"augments.mixup.alpha": [1.0], "augments.fmix.alpha": [0.5]}})
    assert list(recipes.load("tiny").rows())[2:] == ["augments.mixup.alpha-1.0_augments.fmix.alpha-0.5"]


def test_nothing_is_queued_if_one_row_is_not_allowed(repository):
    write(TINY | {"variants": TINY["variants"] | {"odd": {"params": {"augment": "odd"}}}})
    with pytest.raises(UserError, match="augment: found 'odd'"):
        list(experiments.queue("tiny", recipes.load("tiny"), ["plain", "odd"], 1, True))
    with pytest.raises(UserError, match="variant: found 'plane', allowed: plain, mixed, odd"):
        list(experiments.queue("tiny", recipes.load("tiny"), ["plane"], 1, True))
    assert not experiments.look("tiny", recipes.load("tiny"), True).tasks
