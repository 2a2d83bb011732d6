"""Recipes: values in params.yaml without lost comments, and sweeps through DVC's queue."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import torch
import yaml
from dvc.repo.experiments import Experiments
from dvc.repo.experiments.queue.celery import LocalCeleryQueue
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.commands import recipe as recipe_command
from pipeline.core import git, programs
from pipeline.core.errors import UserError
from pipeline.experiments import broker, overview, queue, recipes, submission, workers
from pipeline.experiments.queue import QueuedRun, RunState
from pipeline.experiments.sweep import Sweep, SweepStatus, _paths
from tests import doc_commands, forked

ROOT = Path(__file__).parents[1]
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


@pytest.fixture(scope="module")
def document() -> dict:
    """The project's params.yaml, parsed."""
    return YAML(typ="safe").load(ROOT / "params.yaml")


# What says how fast this machine works, and not what a run finds: a recipe leaves it as it is.
MACHINE = {
    "engine": "ray",
    "gans.processes": 3,
    "memory": 2.5,
    "train.checkpoint_seconds": 7,
    "train.compile": True,
    "train.device": "cpu",
    "train.precision": "float32",
    "train.torchrun": None,  # a support vector machine allows nothing else
    "train.workers": 2,
    "workers": 3,
}


# Values that are mappings, and no blocks of settings.
MAPPINGS = ("align.modes", "labels.merge", "labels.published_valid", "models.svm_deep_features.weights")


def leaves(settings: dict, above: str = "") -> dict:
    """Return the values of params.yaml by dotted key."""
    found = {}
    for name, value in settings.items():
        key = f"{above}{name}"
        whole = not isinstance(value, dict) or key in MAPPINGS
        found |= {key: value} if whole else leaves(value, f"{key}.")
    return found


def with_values(settings: dict, values: dict) -> dict:
    """Return settings some of which have other values, by dotted key."""
    new = deepcopy(settings)
    for key, value in values.items():
        *blocks, last = key.split(".")
        reduce(dict.get, blocks, new)[last] = value
    return new


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_a_row_is_what_its_recipe_says_whatever_was_there_before(name, document, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe, path = recipes.load(name), Path("params.yaml")
    changed = with_values(
        document, {key: ["changed", value] for key, value in leaves(document).items()} | MACHINE
    )
    after_another = deepcopy(changed)
    for row, variant in recipe.rows().items():
        assert all(key.split(".")[0] in ("train", "valid", "test") for key in variant.paper)
        for short in (False, True):
            says = recipe.params | variant.params | (recipe.short if short else {})
            first = deepcopy(document)
            for before, machine in ((first, {}), (deepcopy(changed), MACHINE), (after_another, MACHINE)):
                recipes.override(before, recipe.overrides(row, short), path)
                assert before == with_values(document, machine | says)


def test_a_recipe_changes_values_and_no_comment_no_mode_and_no_link(project):
    Path("kept").mkdir()
    own = Path("params.yaml").rename("kept/own.yaml")
    own.chmod(0o640)
    Path("params.yaml").symlink_to(own)
    before = Path("params.yaml").read_text()
    overrides = {
        "datasets": ["ferplus", "rafdb"],
        "augment": "mixcut",
        "train.epochs": 250,
        "gans.classes": ["fear"],
    }
    recipes.apply(overrides)
    after = own.read_text()
    assert Path("params.yaml").readlink() == own
    assert stat.S_IMODE(own.stat().st_mode) == 0o640
    comments = re.compile("#.*")
    assert comments.findall(after) == comments.findall(before)
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert [" ".join(line.split("#")[0].split()) for line in changed] == [
        "- - sample",
        "+ - ferplus",
        "+ - rafdb",
        "- augment: none",
        "+ augment: mixcut",
        "- - disgust",
        "- epochs: 24",
        "+ epochs: 250",
    ]
    assert params.load().train.epochs == 250
    # The next row does not inherit what this one set.
    recipes.apply({})
    assert Path("params.yaml").read_text().split() == before.split()


def test_mappings_and_lists_are_replaced_and_any_layout_is_kept(project):
    before = Path("params.yaml").read_text()
    values = {
        "classes": ["neutral", "happiness", "disgust"],
        "gan": "none",
        "labels.merge": {"contempt": "disgust"},
        "models.resnet18.weights": "Gewichte/größer, 2: a.safetensors",
        "models.svm_deep_features.weights": {"vgg13": "IMAGENET1K_V1"},
        "train.albumentations": [{"__class_fullname__": "CLAHE", "p": 0.5}],
        "train.resized_crop": [0.08, 1.0],
    }
    recipes.apply(values)
    assert leaves(yaml.safe_load(Path("params.yaml").read_text())) == leaves(yaml.safe_load(before)) | values
    # The user's own layout: lists of several lines, blocks that are not chosen left out.
    text = Path("params.yaml").read_text().replace("  - 0.08\n  - 1.0\n", "  # mine\n  - 0.1\n  - 1\n")
    text = re.sub(r"(?s)  mixcut: .*?(?=  mixaugment:)", "", text).replace("device: auto", "device: cpu")
    Path("params.yaml").write_text(text)
    recipes.apply({"augment": "mixcut", "train.workers": 2})
    applied = Path("params.yaml").read_text()
    assert "  # mine\n  resized_crop:\n" in applied
    own = {"augment": "mixcut", "train.workers": 2, "train.device": "cpu"}
    assert leaves(yaml.safe_load(applied)) == leaves(yaml.safe_load(before)) | own


def test_comments_within_a_replaced_value_and_the_ends_of_lines_are_kept(project):
    text = (
        Path("params.yaml")
        .read_text()
        .replace(
            "resized_crop:\n",
            "resized_crop:  # key\n    # own line\n    - 0.1 # low\n    - 1  # high\n",
        )
        .replace("  - fear\n  - disgust\n", "    [fear, # rare\n    # rarer\n    disgust\n  ]\n")
    )
    Path("params.yaml").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    recipes.apply({"gans.classes": ["anger"]})
    applied = Path("params.yaml").read_bytes()
    assert applied.count(b"\n") == applied.count(b"\r\n") > 300
    lines = [line.rstrip() for line in applied.decode().splitlines()]
    start = lines.index("  resized_crop:  # key  # high")
    assert [line.strip() for line in lines[start - 2 : start]] == ["# own line", "# low"]
    start = lines.index("  classes: [anger]")
    assert [line.strip() for line in lines[start - 3 : start]] == [
        "# Classes that get synthetic faces, each of them one of `classes`",
        "# rare",
        "# rarer",
    ]
    assert params.load().gans.classes == ["anger"]
    Path("params.yaml").write_bytes(text.replace("\n", "\r\n", 5).encode())
    recipes.apply({"gans.classes": ["anger"]})
    assert b"\r" not in Path("params.yaml").read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("datasets:\n- sample", "datasets: &all  # mine\n- sample"),
        ("loss: softmax         #", "loss: >-\n  softmax\n#"),
    ],
)
def test_a_value_that_cannot_be_replaced_in_place_changes_nothing(project, old, new):
    text = Path("params.yaml").read_text().replace(old, new)
    Path("params.yaml").write_text(
        text.replace("  datasets:\n", "  datasets: *all\n") if "&" in new else text
    )
    before = Path("params.yaml").read_bytes()
    with pytest.raises(
        UserError, match=r"params.yaml: found values that cannot be replaced in place; replace each alias"
    ):
        recipes.apply({"datasets": ["ferplus"], "loss": "center"})
    assert Path("params.yaml").read_bytes() == before


def test_a_setting_of_the_user_that_is_not_shipped_never_decides_a_row(project, monkeypatch):
    few = {key: value for key, value in recipes.shipped().items() if key != "augments.mixcut.eta"}
    monkeypatch.setattr(recipes, "shipped", lambda: few)
    recipes.apply({"augment": "mixup"})  # it counts while mixcut is chosen alone
    line = r"params\.yaml: augments\.mixcut\.eta: the shipped file has no value for it"
    with pytest.raises(UserError, match=line):
        recipes.apply({"augment": "mixcut"})
    recipes.apply({"augment": "mixcut", "augments.mixcut.eta": 0.5})
    assert params.load().augments.mixcut.eta == 0.5


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"train.epoch": 3}, "params.yaml: train.epoch: no such key, but the recipe sets it"),
        ({"nothing.at.all": 3}, "params.yaml: nothing.at.all: no such key, but the recipe sets it"),
        ({"train.epochs": -1}, "params.yaml: train.epochs: found -1, allowed: greater than or equal to 1"),
        ({"augment": "mixcat"}, "params.yaml: augment: found 'mixcat', allowed: one of "),
        ({"datasets": None}, "params.yaml: datasets: found None, allowed: "),
    ],
)
def test_a_value_that_is_not_allowed_changes_nothing(project, overrides, line):
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError) as refused:
        recipes.apply({"seed": 5} | overrides)
    assert str(refused.value).startswith(line)
    assert Path("params.yaml").read_bytes() == before
    with pytest.raises(UserError) as refused:
        recipes.check([{"seed": 5}, overrides])
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"runs": 0}, "recipes/tiny.yaml: runs: "),
        (
            {"variants": {}},
            "recipes/tiny.yaml: variants: found {}, allowed: at least one row, here or in `grid`",
        ),
        (
            {"variants": {"a b": {}}},
            "recipes/tiny.yaml: variants.a b: found 'a b', allowed: letters, digits, ",
        ),
        ({"grid": {"loss": []}}, "recipes/tiny.yaml: grid.loss: "),
        ({"grid": {"loss": [["softmax"]]}}, "recipes/tiny.yaml: grid.loss.0"),
        (
            {"grid": {f"losses.{i}": list(range(10)) for i in range(9)}},
            "recipes/tiny.yaml: grid: found 1000000000, allowed: at most 1,000 combinations",
        ),
        (
            {"grid": {"train.epochs": [1, 2]}},
            "recipes/tiny.yaml: grid: found 'train.epochs', allowed: keys that are neither `seed` nor under `short`",
        ),
        (
            {"grid": {"loss": ["softmax", "Softmax"]}},
            "recipes/tiny.yaml: grid: found 'loss-softmax', allowed: different names of rows, where `_` counts as `-`",
        ),
        (
            {"variants": {"a..b": {}}},
            "recipes/tiny.yaml: variants.a..b: found 'a..b', allowed: letters, digits, ",
        ),
        (
            {"variants": {"plain": {}, "short_plain": {}}},
            "recipes/tiny.yaml: grid: found 'short-plain', allowed: different names of rows",
        ),
        (
            {"folds": 5},
            "recipes/tiny.yaml: runs: found 2, allowed: no such key beside `folds`, which is the number of runs",
        ),
        (
            {"variants": {"a": {"paper": {"test.accuracy": 85.6}}}},
            "recipes/tiny.yaml: variants.a.paper.test.accuracy: found 85.6, allowed: less than or equal to 1",
        ),
    ],
)
def test_an_invalid_recipe_is_rejected_in_one_line(project, change, line):
    write(TINY | change)
    with pytest.raises(UserError) as refused:
        recipes.load("tiny")
    assert str(refused.value).startswith(line)
    with pytest.raises(UserError, match=r"recipe: found 'tine', allowed: tiny"):
        recipes.load("tine")
    wrong = {
        "a: [": "line 2: not valid YAML: ",
        "[" * 20_000: "line 1: found more than 64 levels",
        "": "found NoneType, allowed: keys and values",
    }
    for text, told in wrong.items():
        Path("recipes/tiny.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"recipes/tiny\.yaml: {told}"):
            recipes.load("tiny")


def test_a_recipe_that_cannot_be_read_is_one_line(project):
    Path("recipes/gone.yaml").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"recipes/gone.yaml: cannot be read: No such file or directory"):
        recipes.load("gone")


def test_all_faults_of_a_recipe_are_told_at_once(project):
    rows = {"a": {"paper": {"test.accuracy": 85.6}}, "b": {"parms": {}}}
    write(
        {
            "titel": "Tiny",
            "runs": 0,
            "short": {"loss": "center"},
            "variants": rows,
            "grid": {"loss": ["softmax"]},
        }
    )
    done = CliRunner().invoke(app, ["recipe", "show", "tiny"])
    assert str(done.exception).splitlines() == [
        "recipes/tiny.yaml: variants.b.parms: unknown key, allowed here: params, paper, deviations "
        "(did you mean params?)",
        "recipes/tiny.yaml: titel: unknown key, allowed here: title, source, note, deviations, runs, folds, params, "
        "short, variants, grid (did you mean title?)",
        "recipes/tiny.yaml: title: missing, no value given",
        "recipes/tiny.yaml: runs: found 0, allowed: greater than or equal to 1",
        "recipes/tiny.yaml: variants.a.paper.test.accuracy: found 85.6, allowed: less than or equal to 1",
        "recipes/tiny.yaml: grid: found 'loss', allowed: keys that are neither `seed` nor under `short`",
    ]

    rows = {"a": {"params": {"augmnt": "none", "los": "center"}}, "b": {"params": {"loss": "centre"}}}
    write({"title": "Tiny", "variants": rows})
    faults = str(CliRunner().invoke(app, ["recipe", "show", "tiny"]).exception).splitlines()
    assert faults[:2] == [
        f"params.yaml: {key}: no such key, but the recipe sets it" for key in ("augmnt", "los")
    ]
    assert faults[2].startswith("params.yaml: loss: found 'centre', allowed: one of ")


def test_a_title_and_a_row_make_a_recipe(project):
    write({"title": "Tiny", "variants": {"plain": {}}})
    recipe = recipes.load("tiny")
    assert (recipe.heading, recipe.runs, recipe.overrides("plain", False)) == ("Tiny", 1, {})
    for command in ("show", "run", "status", "table", "apply"):
        words = ["recipe", command, "tiny", *(["plain"] if command == "apply" else []), "--short"]
        done = CliRunner().invoke(app, words)
        assert str(done.exception) == (
            "recipes/tiny.yaml: no short form, as there is no block `short`; leave out `--short`"
        )


def test_the_recipes_on_the_page_are_allowed(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    examples = [text for language, text in doc_commands.blocks("docs/recipes.md") if language == "yaml"]
    assert len(examples) > 2
    for text in examples:
        Path("recipes/page.yaml").write_text(text if "title:" in text else f"title: Grid\n{text}")
        recipe = recipes.load("page")
        for row in recipe.rows():
            recipes.override(deepcopy(document), recipe.overrides(row, short=False), Path("params.yaml"))


# A stage without training, so that the tests time DVC's queue and git alone. It writes the number of its process to
# runs-<row>-<seed>, its GPU to gpu-<row>-<seed>, and waits while a file hold-<row>-<seed> exists.
SCORE = """
import json, os, pathlib, sys, time
import pyarrow as pa, pyarrow.parquet as pq, yaml
from pipeline.tables.paths import reusable
p = yaml.safe_load(open("params.yaml"))
if p["augment"] == "cutout":
    sys.exit("cut out")
checkpoint = reusable("checkpoints") / f"{p['augment']}-{p['seed']}"
resumed = checkpoint.exists()
checkpoint.parent.mkdir(parents=True, exist_ok=True)
checkpoint.touch()
root = pathlib.Path(ROOT)
(root / f"gpu-{checkpoint.name}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
(root / f"runs-{checkpoint.name}").write_text(str(os.getpid()))
while (root / f"hold-{checkpoint.name}").exists():
    time.sleep(0.1)
assert p["labels"]["merge"] == {"contempt": "disgust"} and "contempt" not in p["classes"]
assert p["train"]["albumentations"] == [{"__class_fullname__": "CLAHE", "p": 0.5}]
accuracy = p["seed"] / 10 + (0.01 if p["augment"] == "mixup" else 0) + p["train"]["epochs"] / 1000
raw = sum(1 for _ in pathlib.Path("data/raw/folder").iterdir())
pathlib.Path("metrics").mkdir(exist_ok=True)
weights = pathlib.Path(p["models"]["resnet18"]["weights"]).stat().st_size
images = 7 if p["labels"]["rule"] == "majority" else 8
valid = {"images": images, "accuracy": accuracy, "raw": raw, "weights": weights, "resumed": int(resumed)}
json.dump({"valid": valid}, open("metrics/evaluate.json", "w"))
predicted = "b" if p["augment"] == "mixup" else "a"
table = {"id": list("01234567"), "split": ["valid"] * 8, "label": ["b"] * 8, "predicted": [predicted] * 8}
table = {name: values[:images] for name, values in table.items()}
pq.write_table(pa.table(table), "data/predictions.parquet")
"""
STAGE = {
    "stages": {
        "score": {
            "cmd": f"{sys.executable} score.py",
            "deps": ["score.py", "data/raw/folder"],
            "params": ["seed", "augment", "train", "labels"],
            "outs": ["data/predictions.parquet"],
            "metrics": [{"metrics/evaluate.json": {"cache": False}}],
        }
    }
}


@pytest.fixture
def repository(project, monkeypatch, programs):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "fer")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "fer@example.org")
    forked.call_from_workers(programs, monkeypatch)
    monkeypatch.setattr(overview, "INTERVAL", 1)
    monkeypatch.setattr(overview, "CHECKS", 5)  # 5 seconds for a worker to start on a loaded machine
    Path("score.py").write_text(SCORE.replace("ROOT", repr(str(project))))
    Path("dvc.yaml").write_text(yaml.safe_dump(STAGE))
    Path("data/raw/folder").mkdir(parents=True)
    Path("data/raw/folder/a.png").write_bytes(b"a")
    Path("größe, 2.safetensors").write_bytes(b"123")
    Path(".gitignore").write_text("/data/\n/models/\n*.safetensors\ngpu-*\nruns-*\nhold-*\n")
    values = {
        "datasets": ["folder"],
        "model": "resnet18",
        "models.resnet18.weights": "größe, 2.safetensors",
        "labels.merge": {"contempt": "disgust"},
        "classes": ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"],
        "train.albumentations": [{"__class_fullname__": "CLAHE", "p": 0.5}],
    }
    write(TINY | {"params": TINY["params"] | values})
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, check=True)
    commit()
    yield project
    others = [process for process in processes(project) if process.pid != os.getpid()]
    for process in others:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
    psutil.wait_procs(others)


def commit() -> None:
    subprocess.run(["git", "commit", "-qam", "Next"], check=True)


def processes(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder."""
    running = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in running if (process.info["cwd"] or "").startswith(str(folder))]


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may end at any moment, also between two questions
        return True


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < end, "DVC's queue did not get there"
        time.sleep(0.2)


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recipe", *arguments, "tiny", "--short"])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recipe", *arguments, "tiny", "--short"])
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception)


def sweep(*, short: bool = True) -> Sweep:
    return Sweep("tiny", recipes.load("tiny"), short)


def test_a_sweep_survives_the_kill_of_a_run_and_of_its_workers(repository, monkeypatch):
    holds = {name: Path(f"hold-{name}") for name in ("none-1", "mixup-1", "none-2", "mixup-2")}
    for hold in holds.values():
        hold.touch()
    params_file = Path("params.yaml").read_bytes()

    # Runs are made of the last commit: changes that it lacks are refused, in the workspace and in the index.
    recipes.apply({"labels.rule": "majority"})
    Path("score.py").write_text(f"{Path('score.py').read_text()}# edited\n")
    subprocess.run(["git", "add", "score.py"], check=True)
    assert refused("run").startswith(
        "params.yaml, score.py: found changes that are not committed, allowed: files as in the last commit"
    )
    subprocess.run(["git", "checkout", "-q", "HEAD", "."], check=True)
    subprocess.run(["git", "rm", "-q", "--cached", "params.yaml"], check=True)
    assert refused("run").startswith("params.yaml: found changes that are not committed")
    subprocess.run(["git", "reset", "-q"], check=True)
    with pytest.raises(UserError, match="dvc: Invalid exp name"):
        submission.put("no name", "seed: 2", [])

    with submission.alone():
        assert refused("run").startswith("another `fer recipe run` is adding runs to the queue")
    check_that_a_file_saved_in_the_moment_of_queueing_is_told()
    check_that_a_kill_in_the_moment_of_queueing_is_undone()

    # The machine has two GPUs, as far as can be seen without one.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    printed = invoke("run", "--jobs", "2")
    assert printed.startswith(
        "2 jobs at a time: job 1 on GPU 0, job 2 on GPU 1; OMP_NUM_THREADS=1 each (as in"
    )
    assert printed.count(": queued\n") == 4
    assert Path("params.yaml").read_bytes() == params_file
    assert not git.uncommitted()
    until(lambda: Path("runs-none-1").exists() and Path("runs-mixup-1").exists())
    shown = invoke("status")
    assert shown.startswith("0 done, 2 running, 2 waiting")

    assert {Path("gpu-none-1").read_text(), Path("gpu-mixup-1").read_text()} == {"0", "1"}

    # Kill one run. Its worker reports the failure and takes the next run, which gets its GPU.
    os.kill(int(Path("runs-none-1").read_text()), signal.SIGKILL)
    until(lambda: Path("runs-none-2").exists())
    assert Path("gpu-none-2").read_text() == Path("gpu-none-1").read_text()
    # Then kill both workers, and let one of their runs finish.
    kill_the_workers(repository)
    shown = " ".join(invoke("status").split())
    assert shown.startswith("0 done, 1 waiting, 1 failed, 2 interrupted")
    assert shown.endswith("3 runs have no worker in DVC's queue; `fer recipe run tiny --short` goes on")
    assert refused("status", "--wait").startswith("3 runs have no worker in DVC's queue; `fer recipe run")
    assert "tiny-short-plain-s1 failed score: killed by signal 9 (SIGKILL)" in shown
    assert "tiny-short-plain-s2 interrupted its worker was killed" in shown
    # DVC has a process for the whole run. It is the stage's parent, or a shell stands between them.
    parents = psutil.Process(int(Path("runs-mixup-1").read_text())).parents()
    finishing = next(parent for parent in parents if "exec-run" in parent.cmdline())
    holds["mixup-1"].unlink()
    until(lambda: ended(finishing.pid))
    orphan = int(Path("runs-none-2").read_text())
    assert psutil.pid_exists(orphan)

    printed = invoke("run", "--jobs", "2")
    assert "plain-s1: queued again: score: killed by signal 9 (SIGKILL); it goes on from the saved" in printed
    assert "mixed-s1: finished, although its worker was killed\n" in printed
    assert "plain-s2: queued again: its worker was killed; it goes on from the saved progress\n" in printed
    assert "mixed-s2" not in printed
    assert ended(orphan)

    # Who waits starts other workers when the workers are killed, whatever the killed ones leave behind.
    for name in ("none-1", "none-2"):
        holds[name].unlink(missing_ok=True)
    killing = threading.Thread(target=kill_the_workers_of_the_last_run, args=(repository,))
    killing.start()
    printed = invoke("run", "--jobs", "2", "--wait")
    killing.join()
    assert "no worker in DVC's queue; going on with new workers\n" in printed
    assert "mixed-s2: queued again: its worker was killed" in printed
    assert "4 done" in printed
    assert re.search(
        r"\| plain +\| 2 +\| 0\.1510 ± 0\.0707 +\| 0\.5000 +\| - +\| - +\| short form +\|", printed
    )
    # Eight images that only one row gets right, with both seeds: 2 / 2^8.
    cells = r"\| \+0\.0100 \[\+0\.0100, \+0\.0100\] +\| 0\.0078 +\| 0\.0002 +\|"
    assert re.search(r"\| mixed +\| 2 +\| 0\.1610 ± 0\.0707 +\|", printed)
    assert re.search(r"\| mixed +" + cells, printed)
    assert printed[printed.index("Tiny (nowhere), short form") :] == invoke("table")
    assert Path("params.yaml").read_bytes() == params_file

    runs = {
        (row, seed): run["valid"]
        for row, seeds in sweep().results().evaluations.items()
        for seed, run in seeds.items()
    }
    assert {run: valid["resumed"] for run, valid in runs.items()} == {
        ("plain", 1): 1,
        ("plain", 2): 1,
        ("mixed", 1): 0,
        ("mixed", 2): 1,
    }
    assert {(valid["raw"], valid["weights"]) for valid in runs.values()} == {(1, 3)}
    assert not any(sweep(short=False).results().evaluations.values())
    assert ": queued" not in invoke("run")
    assert re.search(r"plain +augment: none +test\.accuracy 0\.5000 +2 finished", invoke("show"))

    # A run that was queued earlier, for example before a restart of the machine, is started as well.
    recipe = yaml.safe_load(Path("recipes/tiny.yaml").read_text())
    write(recipe | {"variants": recipe["variants"] | {"cut": {"params": {"augment": "cutout"}}}})
    commit()
    until(lambda: not queue.workers())
    assert list(sweep().submit(["cut"], 1)) == [("tiny-short-cut-s1", "queued")]
    assert re.search(
        r"4 done, 1 waiting\n1 run has no worker in DVC's queue; `fer recipe run", invoke("status")
    )
    # A worker reads a file that another process has opened, but not written yet; a kill cuts off another one.
    broker = Path(".dvc/tmp/exps/celery/broker")
    [message] = (broker / "in").glob("*.celery.msg")
    message.write_bytes(b"")
    exchange = broker / "control/celery.exchange"
    exchange.write_bytes(exchange.read_bytes()[:-3])
    done = CliRunner().invoke(app, ["recipe", "run", "tiny", "--short", "--seeds", "1", "--wait"])
    for file in (message, exchange):
        assert f"found a damaged file, moved it to .dvc/tmp/exps/damaged/{file.name}\n" in done.output
    assert "cut-s1: queued again: its file in DVC's queue was damaged\n" in done.output
    assert "4 done, 1 failed\n" in done.output
    assert "tiny-short-cut-s1 failed: score: cut out\n" in done.output
    assert re.search(r"\| mixed +" + cells, done.output)
    assert done.exit_code == 1
    assert str(done.exception).startswith(
        "1 runs did not finish: tiny-short-cut-s1: score: cut out (repeat the command"
    )

    subprocess.run([sys.executable, "-m", "dvc", "exp", "remove", "-q", "tiny-short-mixed-s2"], check=True)
    assert invoke("status").startswith("3 done, 1 failed\n")
    shutil.rmtree(".dvc/cache/files")  # as `dvc gc` would
    without = invoke("table")
    assert re.search(r"\| mixed +\| 1 +\| 0\.1110 +\|", without)
    assert re.search(r"\| mixed +\| \+0\.0100 +\|\n", without)
    assert "- plain: not tested for seeds 1, 2, whose predictions are not in DVC's cache" in without
    check_that_stale_runs_are_told_and_run_anew()


def die_while_queueing() -> None:
    LocalCeleryQueue._pack_args = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    with submission.alone():
        submission.put("killed", "seed: 2", [])


def check_that_a_kill_in_the_moment_of_queueing_is_undone() -> None:
    params_file, branch = Path("params.yaml").read_bytes(), git.output("symbolic-ref", "HEAD")
    assert forked.run(die_while_queueing).returncode == -signal.SIGKILL
    assert Path("params.yaml").read_text() == "seed: 2"
    assert git.output("symbolic-ref", "-q", "HEAD") is None
    with submission.alone():
        assert Path("params.yaml").read_bytes() == params_file
    assert git.output("symbolic-ref", "HEAD") == branch
    assert not git.uncommitted()
    assert not git.output("stash", "list")


def kill_the_workers(folder: Path) -> None:
    for process in processes(folder):
        if "queue-worker" in process.info["cmdline"]:
            process.kill()


def kill_the_workers_of_the_last_run(folder: Path) -> None:
    """Kill the workers and the run that is left, and cut off the file that says where its copy of the project is."""
    run = "mixup-2"
    until(lambda: {"tiny-short-plain-s1", "tiny-short-plain-s2"} <= git.experiment_refs().keys())
    until(Path(f"runs-{run}").exists)
    kill_the_workers(folder)
    stage = psutil.Process(int(Path(f"runs-{run}").read_text()))
    copy = stage.cwd()
    for process in (*stage.parents()[:1], stage):
        process.kill()
    for file in Path(".dvc/tmp/exps/run").glob("*/*.run"):
        if copy in file.read_text():
            file.write_text(file.read_text()[:50])
    Path(f"hold-{run}").unlink()


def check_that_a_file_saved_in_the_moment_of_queueing_is_told() -> None:
    code = Path("score.py").read_text()

    def queue_one(self: Experiments, *arguments: Any, **options: Any) -> Any:
        Path("score.py").write_text(f"{code}# saved\n")
        return self.new(*arguments, **options)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Experiments, "queue_one", queue_one)
        told = refused("run")
    assert told.startswith(
        "score.py: found changes that were saved while tiny-short-plain-s1 was being queued, allowed: none"
    )
    commit = re.search(r"`git show (\w+):FILE`", told)[1]
    assert programs.output("git", "show", f"{commit}:score.py") == f"{code}# saved\n"
    assert Path("score.py").read_text() == f"{code}# saved\n"
    Path("score.py").write_text(code)
    assert not queue.runs()


def check_that_stale_runs_are_told_and_run_anew() -> None:
    """Two runs of the first row have finished, one of the second, and none of the third."""
    table = invoke("table")

    # Other data or code, each alone.
    Path("data/raw/folder/b.png").write_bytes(b"b")
    assert "tiny-short-plain-s1 is stale: changed: data/raw/folder\n" in invoke("show")
    Path("data/raw/folder/b.png").unlink()
    code = Path("score.py").read_text()
    Path("score.py").write_text(f"{code}# edited\n")
    shown = " ".join(invoke("status").split())
    assert shown.startswith("0 done, 1 failed, 3 stale")
    assert "tiny-short-mixed-s1 stale changed: score.py" in shown
    Path("score.py").write_text(code)

    # Methods that are not chosen decide nothing, nor does how fast the machine is.
    recipe = yaml.safe_load(Path("recipes/tiny.yaml").read_text())
    recipe["params"] |= {"augments.cutmix.alpha": 0.3, "losses.center.weight": 0.1}
    write(recipe)
    recipes.apply({"train.workers": 3})
    assert invoke("table") == table

    # Another length and another label rule: figures of the runs before are not shown.
    recipe["variants"]["plain"]["params"]["labels.rule"] = "majority"
    write(recipe | {"short": {"train.epochs": 2}})
    told = invoke("table")
    assert (
        "- plain: stale: labels.rule plurality, now majority; train.epochs 1, now 2 (seeds 1, 2); `fer"
        in told
    )
    assert "- mixed: stale: train.epochs 1, now 2 (seeds 1); `fer" in told
    assert re.search(r"\| plain +\| 0 +\| - +\| 0\.5000 +\| - +\|", told)
    assert re.search(r"\| mixed +\| 0 +\| - +\| - +\| - +\|", told)
    assert not re.search(r"0\.1\d", told)

    # The rows with another rule are run anew, and then not compared with the others: they have other images.
    write(recipe)
    commit()
    commit_before = programs.output("git", "rev-parse", git.experiment_refs()["tiny-short-plain-s1"]).strip()
    old = f"tiny-short-plain-s1-old-{commit_before[:7]}"
    done = CliRunner().invoke(
        app, ["recipe", "run", "tiny", "--short", "--seeds", "1", "--variant", "plain", "--wait"]
    )
    why = "labels.rule plurality, now majority"
    assert f"plain-s1: queued anew: {why}; the earlier run is now {old} " in " ".join(done.output.split())
    assert programs.output("git", "rev-parse", git.experiment_refs()[old]).strip() == commit_before
    told = invoke("table")
    assert f"- plain: stale: {why} (seeds 2); `fer recipe run` runs them anew\n" in told
    assert (
        "- mixed: settings that can change images or labels differ from plain: labels.rule plurality, not majority\n"
        in told
    )
    assert "- mixed: no difference and no p-values, because its images or labels differ" in told
    assert re.search(r"\| plain +\| 1 +\| 0\.1010 +\| 0\.5000 +\| - +\|", told)
    assert re.search(r"\| mixed +\| 1 +\| 0\.1110 +\| - +\| - +\|", told)


@pytest.mark.parametrize("flag", ["assume-unchanged", "skip-worktree"])
def test_a_change_that_git_was_told_not_to_look_at_is_uncommitted(tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    for name in ("module.py", "größe.py"):
        Path(name).write_text("before")
    identity = ["-c", "user.name=fer", "-c", "user.email=fer@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "First"]):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["git", "update-index", f"--{flag}", "module.py", "größe.py"], check=True)
    assert not git.uncommitted()
    Path("größe.py").write_text("after")
    assert git.uncommitted() == ["größe.py"]


def test_raw_data_that_dvc_tracks_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("table", "folder", "sample"):
        Path(f"data/raw/{name}").mkdir(parents=True)
        Path(f"data/raw/{name}.dvc").touch()
    for command in (["init", "-q"], ["add", "data/raw/folder.dvc"]):
        subprocess.run(["git", *command], check=True)
    settings = {"datasets": ["table", "folder", "sample"], "model": "light", "align.weights": "package"}
    assert _paths(settings) == [Path("data/raw/table")]


def status(finished: set[str], **states: str) -> SweepStatus:
    runs = {name: QueuedRun(name, RunState(state), Path("nowhere"), None) for name, state in states.items()}
    return SweepStatus(finished, runs, [], 0)


def test_waiting_ends_without_a_worker(monkeypatch):
    monkeypatch.setattr(overview, "INTERVAL", 0.01)
    current = status(set(), a="waiting", b="failed", c="interrupted", d="lost")
    assert overview.follow(lambda: current, Console(file=io.StringIO())) == current
    assert overview.no_worker(current) == "3 runs have no worker in DVC's queue"
    assert overview.no_worker(current._replace(workers=1)) == "2 runs have no worker in DVC's queue"
    assert overview.no_worker(status(set(), a="waiting")) == "1 run has no worker in DVC's queue"
    assert overview.no_worker(status({"a"}, b="failed")) == ""


def test_a_log_says_what_is_running_when_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "INTERVAL", 0.01)
    monkeypatch.setattr(overview, "SILENCE", 0.1)
    (log := tmp_path / "abc" / "abc.out").parent.mkdir()
    log.write_text("train: epoch 1/9\n", encoding="utf-8")
    running = SweepStatus(set(), {"a": QueuedRun("a", RunState.RUNNING, log.parent, None)}, [], 0)
    left = iter([running] * 60)
    text = io.StringIO()
    overview.follow(lambda: next(left, status({"a"})), Console(file=text))
    changes, *beats, end = text.getvalue().split("0 done, 1 running\n")[1:]
    assert changes == ""
    assert set(beats) == {"a: train: epoch 1/9\n"}
    assert end == "a: train: epoch 1/9\n1 done\n"


@pytest.mark.parametrize(
    ("jobs", "visible", "found", "gpus"),
    [
        (2, None, 2, ["0", "1"]),
        (3, None, 2, ["0", "1", "0"]),
        (2, None, 4, ["0,2", "1,3"]),
        (2, "5,7", 2, ["5", "7"]),
        (2, "GPU-a1, GPU-b2,-1,3", 2, ["GPU-a1", "GPU-b2"]),  # nothing counts behind a number that no GPU has
        (2, "3", 1, ["3", "3"]),
        (2, "", 0, [None, None]),
        (2, None, 0, [None, None]),
        (1, None, 4, [None]),
    ],
)
def test_jobs_share_the_gpus_that_torch_sees(monkeypatch, jobs, visible, found, gpus):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    assert [job.get("CUDA_VISIBLE_DEVICES") for job in workers.shares(jobs)] == gpus


def test_jobs_share_the_cores(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(workers, "cores", lambda: 16)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # the user's own
    assert workers.shares(5) == [{}] * 5
    assert workers.in_words(workers.shares(5)) == (
        "5 jobs at a time: OMP_NUM_THREADS=3 each (as in your environment)"
    )
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert workers.shares(5) == [{"OMP_NUM_THREADS": "3"}] * 5
    assert workers.in_words(workers.shares(5)) == (
        "5 jobs at a time: OMP_NUM_THREADS=3 each (16 cores for 5 jobs)"
    )
    assert workers.shares(40) == [{"OMP_NUM_THREADS": "1"}] * 40
    assert workers.shares(1) == [{}]


def test_workers_that_always_end_are_not_replaced_for_ever(project, monkeypatch):
    waiting = status({"tiny-short-plain-s1"}, **{"tiny-short-mixed-s1": "waiting"})
    started = []
    monkeypatch.setattr(overview, "INTERVAL", 0)
    monkeypatch.setattr(Sweep, "submit", lambda *_: [])
    monkeypatch.setattr(Sweep, "resume", lambda *_: [])
    monkeypatch.setattr(Sweep, "status", lambda *_: waiting)
    monkeypatch.setattr(recipe_command, "_print_table", lambda *_: None)
    monkeypatch.setattr(workers, "start", started.append)
    assert refused("run", "--wait").startswith(
        "1 runs did not finish: tiny-short-mixed-s1: its process never"
    )
    assert started == [[{}]] * (1 + recipe_command.TRIES)


# What a kill, a full disk or a power cut makes of a file.
@given(st.sampled_from([pattern for pattern in broker.PATTERNS if "*" in pattern]), st.data())
def test_a_file_of_the_queue_that_is_not_whole_is_put_aside(pattern, data):
    whole = json.dumps({"body": "YWJj", "headers": {"id": "1", "expires": None}}).encode()
    cut = st.integers(0, len(whole) - 1).map(lambda size: whole[:size])
    left = st.one_of(cut, cut.map(lambda start: start.ljust(len(whole), b"\0")), st.just(whole + whole[:9]))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(broker, "MOMENT", 0)
        files = {
            Path(folder, pattern.replace("*", name)): content
            for name, content in (("a", whole), ("b", data.draw(left)))
        }
        for file, content in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        with contextlib.redirect_stderr(io.StringIO()) as told:
            broker.put_damaged_files_aside(Path(folder))
        good, bad = files
        assert good.read_bytes() == whole
        assert not bad.exists()
        aside = Path(folder, "exps/damaged", bad.name)
        assert aside.read_bytes() == files[bad]
        assert told.getvalue() == f"DVC: found a damaged file, moved it to {aside}\n"
        assert not broker.damaged(Path(folder))


def test_a_file_of_the_queue_that_is_being_written_stays(tmp_path):
    file = tmp_path / "exps/celery/broker/in/1.celery.msg"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    writing = threading.Timer(broker.MOMENT / 5, file.write_text, ("{}",))
    writing.start()
    assert not broker.damaged(tmp_path)
    writing.join()


def test_a_log_gets_a_line_for_every_change(monkeypatch):
    monkeypatch.setattr(overview, "INTERVAL", 0.01)
    changes = [
        status(set(), a="running", b="waiting"),
        status(set(), a="running", b="waiting"),
        status({"a"}, b="running"),
        status({"a"}, b="failed"),
    ]
    text = io.StringIO()
    assert overview.follow(iter(changes).__next__, Console(file=text, width=200)) == changes[-1]
    assert text.getvalue().splitlines() == [
        "0 done, 1 running, 1 waiting",
        "1 done, 1 running",
        "b failed: its process never started; see .dvc/tmp/exps/celery/dvc-exp-worker-*.out",
        "1 done, 1 failed",
    ]


def test_the_time_left_comes_from_the_duration_of_finished_runs(tmp_path):
    (tmp_path / f"{tmp_path.name}.pid").touch()
    running = QueuedRun("a", RunState.RUNNING, tmp_path, None)
    waiting = {name: QueuedRun(name, RunState.WAITING, tmp_path, None) for name in "bcd"}
    current = SweepStatus({"x", "y"}, {"a": running} | waiting, [50.0, 70.0], 2)
    assert current.seconds_left() == pytest.approx((60 + 3 * 60) / 2, abs=1)
    assert current._replace(unfinished={"a": running}).seconds_left() == pytest.approx(60, abs=1)
    assert current._replace(durations=[]).seconds_left() is None
    assert current._replace(workers=0).seconds_left() is None


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
    assert QueuedRun("a", RunState.FAILED, tmp_path, None).reason() == reason


def test_a_grid_makes_a_row_of_each_combination(project):
    grid = {"augments.mixup.alpha": [0.1, 1.0], "loss": ["softmax", "center"]}
    write(TINY | {"grid": grid})
    recipe = recipes.load("tiny")
    rows = [f"alpha-{alpha}_loss-{loss}" for alpha in ("0.1", "1.0") for loss in ("softmax", "center")]
    assert list(recipe.rows()) == ["plain", "mixed", *rows]
    assert recipe.overrides("alpha-0.1_loss-center", False) == TINY["params"] | {
        "augments.mixup.alpha": 0.1,
        "loss": "center",
    }
    write({key: value for key, value in TINY.items() if key != "variants"} | {"grid": grid})
    assert list(recipes.load("tiny").rows()) == rows
    # If the last parts of two keys are equal, the names of the rows have the whole keys.
    write(TINY | {"grid": {"augments.mixup.alpha": [1.0], "augments.fmix.alpha": [0.5]}})
    assert list(recipes.load("tiny").rows())[2:] == ["augments.mixup.alpha-1.0_augments.fmix.alpha-0.5"]
    # git allows no `..` in a name.
    write(TINY | {"grid": {"models.resnet18.weights": ["../a.safetensors", None]}})
    assert list(recipes.load("tiny").rows())[2:] == ["weights----a.safetensors", "weights-none"]


def test_with_folds_each_run_tests_another_part(project):
    folded = {key: value for key, value in TINY.items() if key != "runs"} | {"folds": 3}
    write(folded)
    recipe = recipes.load("tiny")
    assert recipe.runs == 3
    assert recipe.of_run(2) == {"seed": 2, "labels.fold": [2, 3]}
    for seed in (1, 2, 3):
        recipes.check([recipe.overrides("plain", True) | recipe.of_run(seed)])
    assert any("3 parts" in remark for remark in recipe.remarks(["plain"]))
    with pytest.raises(UserError, match=r"--seeds: found 4, allowed: at most 3, the recipe's `folds`"):
        list(sweep().submit(["plain"], 4))
    write(folded | {"params": {"labels.valid": 0.7}})
    with pytest.raises(UserError, match=r"labels.valid \+ one part of labels.fold: found 1.03"):
        list(sweep().submit(["plain"], 3))
    write(folded | {"grid": {"labels.fold": ["a"]}})
    with pytest.raises(UserError, match=r"folds: found 3, allowed: 0 while the recipe sets labels\.fold"):
        recipes.load("tiny")


def test_nothing_is_queued_if_one_row_is_not_allowed(project):
    # There is no DVC repository: the error comes before the queue is touched.
    write(TINY | {"variants": TINY["variants"] | {"odd": {"params": {"augment": "odd"}}}})
    with pytest.raises(UserError, match="augment: found 'odd'"):
        list(sweep().submit(["plain", "odd"], 1))
    with pytest.raises(UserError, match="variant: found 'plane', allowed: plain, mixed, odd"):
        list(sweep().submit(["plane"], 1))
    with pytest.raises(UserError, match="dvc: you are not inside of a DVC repository"):
        list(sweep().submit(["plain"], 1))


def test_rows_that_are_one_experiment_are_told() -> None:
    def told(short: bool) -> list[str]:
        recipe = recipes.load("gan_fer2013")
        return recipes.equal_rows(
            {row: recipes.settings(recipe.overrides(row, short)) for row in recipe.rows()}
        )

    # The short form trains ResNet-18 in every row. A block of a network that is not chosen makes no difference.
    assert told(short=True)[0].startswith("svm, vgg16, resnet50: the same experiment under 3 names")
    assert told(short=False) == []
