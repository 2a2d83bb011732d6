"""The documentation: its commands work, its pages are complete, and what it quotes is there."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from typer.testing import CliRunner

from pipeline.cli import app
from scripts.documentation import hooks, methods, parameters, stages
from tests import doc_commands, toy
from tests.doc_commands import ROOT

# Pages whose commands are run, all of them or those under a heading, in the small project after the newcomer's way
# through README.md. What is left out is checked as all other commands are, see tests/doc_commands.py.
RUN = {
    "README.md": ("Two augmentations compared", "A day with it"),
    "docs/tutorials/sample.md": ("1. Run everything", "2. Compare two augmentations", "4. Try something"),
    "docs/reference/parameters.md": (),
}
LEFT_OUT = {
    "dvc plots diff --open": "opens a browser",
    "dvc exp run": "minutes of training; the newcomer's way runs two",
    "fer recipe run": "hours of training",
    "fer recipe compare": "needs finished runs",
    "dvc queue": "needs a queue",
}
# A chain that takes seconds: whole pictures in the place of faces found, no GAN, one epoch.
SMALL = {
    "sample.pictures": 200,
    "align.mode": "none",
    "gan": "none",
    "train.epochs": 1,
    "evaluate.bootstrap": 20,
}
EVIDENCE = ["README.md", "benchmarks/README.md", "docs/ferplus.md", "docs/synthetic.md"]


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder as a user does; return what it printed."""
    words = (sys.executable, "-m", {"dvc": "dvc", "fer": "pipeline"}[words[0]], *words[1:])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project with a chain that takes seconds, after `make demo`, whose part it is to run the chain."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data/raw").mkdir(parents=True)
    (folder / "models").mkdir()
    toy.set_params(folder, **SMALL)
    for words in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "config", "user.name", "test"],
        ["git", "config", "user.email", "test@example.org"],
    ):
        subprocess.run(words, cwd=folder, check=True)
    run(folder, "dvc", "init", "-q")
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    subprocess.run(["git", "commit", "-qm", "Start"], cwd=folder, check=True)
    demo = re.search(r"(?m)^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())
    assert demo
    assert "$(RUN) dvc repro\n" in demo[1]
    run(folder, "dvc", "repro")
    return folder


@pytest.mark.xdist_group("docs")
def test_a_newcomer_gets_to_a_comparison_of_two_augmentations(small: Path) -> None:
    printed = ""
    for command in doc_commands.section("README.md", "Two augmentations compared"):
        if command.words[0] != ".":
            printed = run(small, *command.words)
    heads, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "|" in line
    )
    found = {re.sub(r".*\[(\w+)\]", r"\1", row[0]): dict(zip(heads, row, strict=True)) for row in rows}
    assert {name: found[name]["augment"] for name in ("plain", "mixcut")} == {
        "plain": "none",
        "mixcut": "mixcut",
    }
    scores = json.loads((small / "metrics/evaluate.json").read_text())["test"]
    assert float(found["mixcut"]["test.accuracy"]) == pytest.approx(scores["accuracy"], abs=1e-4)
    # What README.md shows as the table has the same columns.
    shown = re.search(r"(?m)^\| Experiment .*$", (ROOT / "README.md").read_text())
    assert shown
    assert [cell.strip() for cell in shown[0].strip("| ").split("|")] == heads
