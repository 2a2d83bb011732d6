"""Recipes: parameters without lost comments, runs through DVC's queue, figures beside the paper's."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline import experiments, params, recipes
from pipeline.cli import app
from pipeline.errors import UserError

ROOT = Path(__file__).parents[1]
ROWS = [
    (path.stem, variant)
    for path in sorted((ROOT / "recipes").glob("*.yaml"))
    for variant in yaml.safe_load(path.read_text())["variants"]
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
    assert all(key.split(".")[0] in ("train", "valid", "test") for key in recipe.variants[variant].paper)


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
        ({"variants": {}}, "recipes/tiny.yaml: variants: "),
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


# A stage that scores what it was told, so that what runs is DVC's queue and git alone.
SCORE = """
import json, pathlib, sys, yaml
p = yaml.safe_load(open("params.yaml"))
if p["augment"] == "cutout":
    sys.exit("cut out")
accuracy = p["seed"] / 10 + (0.01 if p["augment"] == "mixup" else 0) + p["train"]["epochs"] / 1000
raw = sum(1 for _ in pathlib.Path("data/raw/folder").iterdir())
pathlib.Path("metrics").mkdir(exist_ok=True)
weights = pathlib.Path("weights.safetensors").stat().st_size
json.dump({"valid": {"accuracy": accuracy, "raw": raw, "weights": weights}}, open("metrics/evaluate.json", "w"))
"""
STAGE = {
    "stages": {
        "score": {
            "cmd": f"{sys.executable} score.py",
            "deps": ["score.py", "data/raw/folder"],
            "params": ["seed", "augment", "train"],
            "metrics": [{"metrics/evaluate.json": {"cache": False}}],
        }
    }
}


@pytest.fixture
def repository(project, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "fer")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "fer@example.org")
    Path("score.py").write_text(SCORE)
    Path("dvc.yaml").write_text(yaml.safe_dump(STAGE))
    Path("data/raw/folder").mkdir(parents=True)
    Path("data/raw/folder/a.png").write_bytes(b"a")
    Path("weights.safetensors").write_bytes(b"123")
    Path(".gitignore").write_text("data/\n*.safetensors\n")
    settings = {"datasets": ["folder"], "models.resnet18.weights": "weights.safetensors"}
    write(TINY | {"params": TINY["params"] | settings})
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, check=True)
    subprocess.run(["git", "commit", "-qm", "first"], check=True)
    yield project
    subprocess.run([sys.executable, "-m", "dvc", "queue", "stop", "--kill"], check=False, capture_output=True)


def wait(count: int) -> None:
    end = time.monotonic() + 90
    seen = False
    while len(experiments.refs()) < count or any(experiments._tasks()):
        assert time.monotonic() < end, "DVC's queue did not finish"
        seen |= experiments._works()
        time.sleep(1)
    assert seen


def test_runs_go_through_the_queue_and_come_back_as_a_table(repository):
    cli = CliRunner()
    done = cli.invoke(app, ["recipe", "run", "tiny", "--short", "--jobs", "2"])
    assert done.exit_code == 0, done.output
    assert done.output.count("queued tiny-short-") == 4
    wait(4)
    assert "0 experiments queued" in cli.invoke(app, ["recipe", "run", "tiny", "--short"]).output

    recipe = recipes.load("tiny")
    plain, mixed = experiments.figures("tiny", recipe, [], short=True)
    # There is no test split: the paper's score on test stands beside ours on valid, which is said.
    assert (plain.variant, plain.score, plain.read) == ("plain", "test.accuracy", "valid.accuracy")
    assert (plain.runs, plain.paper) == (2, 0.5)
    assert plain.mean == pytest.approx(0.151)
    assert plain.spread == pytest.approx(statistics.stdev([0.1, 0.2]))
    assert (mixed.variant, mixed.runs, mixed.paper) == ("mixed", 2, None)
    assert mixed.mean == pytest.approx(0.161)
    raw = experiments.figures("tiny", recipe, ["valid.raw", "valid.weights", "valid.kappa"], short=True)
    assert [figure.mean for figure in raw] == [1, 3, None, 1, 3, None]
    assert [figure.runs for figure in experiments.figures("tiny", recipe, [], short=False)] == [0, 0]

    shown = cli.invoke(app, ["recipe", "show", "tiny", "--short"]).output
    assert re.search(r"\| row +\| runs +\| valid\.accuracy \(test\.accuracy\) +\|", shown)
    assert re.search(r"\| plain +\| 2 +\| 0\.1510 ± 0\.0707 \(0\.5000\) +\|", shown)
    assert "seed: 1 " in Path("params.yaml").read_text()

    compared = cli.invoke(app, ["recipe", "compare", "tiny", "--short"]).output
    assert compared.startswith("Tiny (nowhere), short form\n\nScores on valid. plain: mean")
    assert "Pairs: mixed 2." in compared
    cells = r"\| valid\.accuracy +\| 0\.1510 ± 0\.0707 \| \+0\.0100 \[\+0\.0100, \+0\.0100\] \* \|"
    assert re.search(cells, compared)
    turned = cli.invoke(
        app, ["recipe", "compare", "tiny", "--short", "--baseline", "mixed", "--score", "valid.raw"]
    ).output
    assert re.search(r"\| valid\.raw \| 1\.0000 ± 0\.0000 \| \+0\.0000 \[\+0\.0000, \+0\.0000\] +\|", turned)


def test_a_run_that_waits_prints_the_comparison_and_names_what_failed(repository, monkeypatch):
    monkeypatch.setattr(experiments, "LOOK", 0.5)
    monkeypatch.setattr(experiments, "LOOKS", 60)  # 30 seconds for a worker's start on a loaded machine
    recipe = recipes.load("tiny").model_dump()
    write(recipe | {"variants": recipe["variants"] | {"cut": {"params": {"augment": "cutout"}}}})
    # What waits already, after a restart of the machine for example, is started and waited for as well.
    assert len(list(experiments.queue("tiny", recipes.load("tiny"), ["plain"], 1, True))) == 1

    done = CliRunner().invoke(
        app, ["recipe", "run", "tiny", "--short", "--seeds", "1", "--jobs", "2", "--wait"]
    )

    assert "2 experiments queued" in done.output
    assert re.search(r"experiments: 100%.* 3/3 ", done.output)
    assert re.search(r"\| valid\.accuracy +\| 0\.1010 +\| \+0\.0100 \[-\] \| - +\|", done.output)
    assert done.exit_code == 1
    assert str(done.exception) == ("1 experiments failed: tiny-short-cut-s1; `dvc queue logs NAME` shows why")
    logs = [sys.executable, "-m", "dvc", "queue", "logs", "tiny-short-cut-s1"]
    assert "cut out" in subprocess.run(logs, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("waiting", "running", "line"),
    [
        (
            ["tiny-plain-s1", "other-s1"],
            [],
            "has no worker, and 1 experiments wait: `dvc queue start` goes on",
        ),
        (
            ["tiny-plain-s1"],
            ["tiny-mixed-s1", "other-s1"],
            "cut off 1 experiments: `dvc queue kill tiny-mixed-s1`",
        ),
    ],
)
def test_waiting_ends_where_no_worker_is_left(project, monkeypatch, waiting, running, line):
    monkeypatch.setattr(experiments, "LOOK", 0.01)
    monkeypatch.setattr(experiments, "_tasks", lambda: experiments.Tasks(set(waiting), set(running)))
    with pytest.raises(UserError, match=line):
        experiments.wait({"tiny-plain-s1", "tiny-mixed-s1"})


def test_runs_that_end_before_the_first_look_are_seen(project, monkeypatch):
    monkeypatch.setattr(experiments, "_tasks", lambda: experiments.Tasks(set(), {"other-s1"}))
    monkeypatch.setattr(experiments, "refs", lambda: {"tiny-plain-s1": "refs/exps/tiny-plain-s1"})
    assert experiments.wait({"tiny-plain-s1", "tiny-mixed-s1"}) == ["tiny-mixed-s1"]
    assert experiments.wait(set()) == []


def test_nothing_is_queued_if_one_row_is_not_allowed(repository):
    write(TINY | {"variants": TINY["variants"] | {"odd": {"params": {"augment": "odd"}}}})
    with pytest.raises(UserError, match="augment: found 'odd'"):
        list(experiments.queue("tiny", recipes.load("tiny"), ["plain", "odd"], 1, True))
    with pytest.raises(UserError, match="variant: found 'plane', allowed: plain, mixed, odd"):
        list(experiments.queue("tiny", recipes.load("tiny"), ["plane"], 1, True))
    assert not any(experiments._tasks())
