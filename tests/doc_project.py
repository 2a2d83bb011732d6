"""The small project in which the documentation's commands are run, and how they are scaled down to it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from dvc import cli as dvc
from gto.cli import app as gto
from PIL import Image
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.progress import WIDTH
from pipeline.experiments import overview, recipes
from pipeline.params.settings import flat
from scripts.documentation import stages
from tests import forked, test_affectnet, test_ckplus, test_ferplus, test_rafdb, toy
from tests.doc_commands import ROOT, Command, parsed

# A command runs as it is documented, but for what makes it long: these settings have these values, in params.yaml and
# the recipes as well as behind `-S`. (`balance` is no size and stays.)
SIZES: dict[str, Any] = {
    "sample.images": 200,
    "train.epochs": 1,
    "gans.images_per_class": 4,
    "gans.judge_epochs": 1,
    "gans.processes": 1,
    "gans.*.epochs": 1,
    "gans.*.least_steps": 0,
    "gans.*.latent": 8,
    "gans.*.width": 4,
    "evaluate.bootstrap": 20,
    "evaluate.mistakes": 4,
}
# And a chain that takes seconds: whole images in the place of faces found, no GAN, the smallest network.
SMALL = {"align.mode": "none", "gan": "none", "model": "light"}
# Whose rows are run. Any other recipe that a command names is replaced by the first of these.
RECIPES = {"mixcut_sample": ["baseline"], "ferplus_afternoon": ["none", "mixcut"]}
IMAGES = 120  # of a data set: eight training faces of each class are the least that a GAN learns from
# What a page leaves to its reader.
NAMED = {
    "<name>": "mixcut",
    "<dataset>": "sample",
    "NAME": "mixcut-sample-short-baseline-s1",
    "/where/you/keep": "{home}/kept",
    "/where/models/are/kept": "{home}/store",
    "https://host/you/project.git": "{home}/origin.git",
}


def scaled(command: Command) -> list[str]:
    """Return the words of a command with small sizes.

    Of a sweep's lists the first is kept, of a recipe's rows those in `RECIPES`, of a GAN's classes the first.
    """
    words: list[str] = []
    lists = 0
    for before, word in pairwise(["", *command.words]):
        key, _, value = word.partition("=")
        if before == "-S" and value.isdecimal() and (size := _size(key)) is not None:
            word = f"{key}={size}"
        if before == "-S" and key == "gans.classes":
            word = re.sub(r"\[(\w+),.*\]", r"[\1]", word)
        if before == "-S" and re.fullmatch(r"[\w.]+(,[\w.]+)+", value):
            word = word.partition(",")[0] if lists else word
            lists += 1
        words.append("1" if before == "--seeds" else word)
    if words[:2] == ["fer", "recipe"] and len(words) > 3:
        drop = {i + k for i, word in enumerate(words) if word in ("--variant", "--score") for k in (0, 1)}
        words = [word for i, word in enumerate(words) if i not in drop]
        if words[2] != "apply":
            words[3] = words[3] if words[3] in RECIPES else next(iter(RECIPES))
        if words[2] == "run":
            words += [f"--variant={row}" for row in RECIPES[words[3]]]
    if words[:3] == ["fer", "labels", "suspects"]:
        words += ["--folds=2", "--epochs=1"]
    return words


def _size(key: str) -> Any:
    return next((size for pattern, size in SIZES.items() if fnmatch(key, pattern)), None)


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder and, as far as it is Python, in this process; return what was printed.

    No line of `fer` or `dvc`, and no state of a progress bar, may be wider than a terminal of `WIDTH` columns.
    """
    printed, result = io.StringIO(), None
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        if words[0] == "dvc":
            code = dvc.main(list(words[1:]))
        elif words[0] == "fer" or words[:3] == ("python", "-m", "pipeline"):
            result = CliRunner().invoke(app, words[1 if words[0] == "fer" else 3 :])
            code = result.exit_code
            print(result.output, result.exception or "")
        elif words[0] == "gto":
            code = gto(list(words[1:]), standalone_mode=False) or 0
        else:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            code = done.returncode
            print(done.stdout)
    assert code == 0, f"{shlex.join(words)}\n{printed.getvalue()}"
    # Standard error has the bars. The folder of a test has a longer name than a reader's.
    streams = [result.stdout, result.stderr] if result else [printed.getvalue()] if words[0] == "dvc" else []
    lines = "\n".join(streams).replace(str(folder.parent), "~")
    wide = [line for line in re.split("[\r\n]", lines) if len(line) > WIDTH]
    assert not wide, f"`{shlex.join(words)}` prints more than {WIDTH} columns:\n" + "\n".join(wide)
    return printed.getvalue()


def execute(folder: Path, command: Command) -> str:
    """Run a command of the documentation, scaled down, in the small project; return what was printed."""
    with contextlib.chdir(folder):
        words = scaled(command)
    for name, own in NAMED.items():
        words = [word.replace(name, own.format(home=folder.parent)) for word in words]
    match words:
        case [".", script]:
            return run(folder, "bash", "-ec", f". {script}")
        case ["make", *_]:  # what make would do, its programs run like any others
            lines = run(folder, "make", "-n", *words[1:])
            return "".join(execute(folder, c) for c in parsed(command.page, lines) if c.words[0] != "echo")
        case ["ln", "-s", _, link]:
            (folder / link).unlink(missing_ok=True)
        case ["dvc", "artifacts", *_]:  # where there is no clone
            folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        for name, _, value in (variable.partition("=") for variable in command.variables):
            if name != "PATH":
                patch.setenv(name, value)
        return run(folder, *words)


def make(folder: Path, patch: pytest.MonkeyPatch, programs: Path) -> None:
    """Make a clone of the project, after `make demo`, with data sets, an origin, and a reader's own files.

    Args:
        folder: where to; what lies elsewhere lies beside it.
        patch: undone by the caller when the project is done with.
        programs: the folder that `forked.programs` yields.
    """
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "recipes", "data/exclude"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "models").mkdir()
    keys = _keys(params.load(ROOT / "params.yaml").model_dump())
    sizes = {key: size for key in keys if (size := _size(key)) is not None}
    toy.set_params(folder, **SMALL, **sizes)
    shipped = flat(yaml.safe_load((folder / "params.yaml").read_text()))
    patch.setattr(recipes, "shipped", lambda: shipped)
    for path in (folder / "recipes").iterdir():
        path.write_text(yaml.safe_dump(_shrunk(yaml.safe_load(path.read_text())), sort_keys=False))
    _environment(folder)
    _data_sets(folder.parent / "kept")
    shutil.copytree(folder.parent / "kept/table", folder / "data/raw/sample")
    _link(folder)
    _stand_ins(folder, patch, programs)
    for words in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "config", "--global", "user.name", "test"],
        ["git", "config", "--global", "user.email", "test@example.org"],
        ["git", "init", "-q", "--bare", "-b", "main", str(folder.parent / "origin.git")],
        ["git", "remote", "add", "origin", str(folder.parent / "origin.git")],
        ["dvc", "init", "-q"],
        ["git", "add", "."],
        ["git", "commit", "-qm", "Start"],
    ):
        run(folder, *words)
    # What `dvc repro` does, without the ten seconds of drawing the sample.
    for name in [name for name in stages.chain() if name != "sample"]:
        stage = stages.chain()[name]
        run(folder, "fer", name, *(["sample"] if "matrix" in stage else []))
    for words in (
        ["dvc", "commit", "-q", "--force"],
        ["git", "add", "."],
        ["git", "commit", "-qm", "Run"],
        ["git", "push", "-qu", "origin", "main"],
    ):
        run(folder, *words)
    _named_files(folder)


def reset(folder: Path) -> None:
    """Go back to the last commit of the main branch, and link the data sets again."""
    _link(folder)
    run(folder, "git", "checkout", "-qf", "main")
    run(folder, "git", "clean", "-fdq")
    for name in (".git/hooks/pre-commit", ".dvc/config.local"):
        (folder / name).unlink(missing_ok=True)
    for name in ("ingested", "aligned"):
        shutil.rmtree(folder / "data" / name)
    run(folder, "dvc", "checkout", "-q", "--force")


def _link(folder: Path) -> None:
    for kept in (folder.parent / "kept").iterdir():
        link = folder / "data/raw" / kept.name
        link.unlink(missing_ok=True)
        link.symlink_to(kept)


def _keys(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield from _keys(value, f"{above}{name}.") if isinstance(value, dict) else [f"{above}{name}"]


def _shrunk(recipe: Any) -> Any:
    """Return a recipe with small sizes and the small network, one run of each row."""
    if not isinstance(recipe, dict):
        return recipe
    small = {key: size for key in recipe if (size := _size(key)) is not None and recipe[key] != "balance"}
    small |= {key: value for key, value in ({"runs": 1} | SMALL).items() if key in recipe}
    return {key: small.get(key, _shrunk(value)) for key, value in recipe.items()}


def _environment(folder: Path) -> None:
    """Have the environment that runs this installed, as `make` sees it."""
    for lock in ("", "-cuda", "-dev"):
        (folder / f"requirements{lock}.lock").touch()
    (folder / "scripts").mkdir()
    (folder / "scripts/install.sh").touch()
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv/.installed").touch()
    (folder / ".venv/.dev").touch()


def _stand_ins(folder: Path, patch: pytest.MonkeyPatch, programs: Path) -> None:
    """Take the place of what a test has not, or must not touch: home, shell, browser, camera, who answers `[y/n]`.

    And of programs that take seconds to start.
    """
    home = folder.parent / "home"
    home.mkdir()
    for name, value in {
        "HOME": home,
        "GIT_CONFIG_GLOBAL": home / ".gitconfig",
        "PATH": os.pathsep.join(map(str, (programs, Path(sys.executable).parent, os.environ["PATH"]))),
        "PYTHONPATH": folder,
        "DVC_NO_ANALYTICS": "1",
    }.items():
        patch.setenv(name, str(value))
    patch.setattr(overview, "INTERVAL", 0.5)
    forked.call_from_workers(programs, patch)
    patch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    patch.setattr("webbrowser.open", lambda url: True)
    patch.setattr("dvc.ui.Console.confirm", lambda *_: True)
    capture = cv2.VideoCapture
    patch.setattr(
        cv2, "VideoCapture", lambda source, *more: capture("film.mp4" if source == 0 else source, *more)
    )


def _data_sets(kept: Path) -> None:
    """Write every data set as its authors publish it, with a few images of noise, brighter from class to class."""
    rng = np.random.default_rng(0)
    names = toy.PARAMS.classes
    table, legend = ["image,split,label"], ["user.id,image,emotion"]
    places = (kept / "table/images", kept / "facial_expressions/images", kept / "facial_expressions/data")
    for place in (*places, kept / "fer2013", *(kept / "images" / name for name in names)):
        place.mkdir(parents=True)
    for i in range(IMAGES):
        name, split = names[i % 8], ("train", "train", "train", "valid", "test")[i % 5]
        shade = rng.normal(60 + 15 * (i % 8), 40, (64, 64))
        table.append(f"{i}.png,{split},{name}")
        legend.append(f"{i},{i}.png,{name}")
        for image in (kept / "table/images", kept / "facial_expressions/images", kept / "images" / name):
            Image.fromarray((shade + rng.normal(0, 9, shade.shape)).clip(0, 255).astype(np.uint8)).save(
                image / f"{i}.png"
            )
    (kept / "table/labels.csv").write_text("\n".join(table))
    (kept / "facial_expressions/data/legend.csv").write_text("\n".join(legend))
    votes = {
        name: ",".join(str(8 * (k == n) + 2 * (k == 8)) for k in range(10)) for n, name in enumerate(names)
    }
    usage = ("Training", "Training", "Training", "PublicTest", "PrivateTest")
    files = {f"fer{i:07}.png": votes[names[i % 8]] for i in range(IMAGES)}
    rows = [f"{usage[i % 5]},{name},{vote}" for i, (name, vote) in enumerate(files.items())]
    test_ferplus.write_new(kept / "ferplus", *rows)
    for n, split in enumerate(("Train", "Valid", "Test")):
        ours = {name: vote for i, (name, vote) in enumerate(files.items()) if max(i % 5 - 2, 0) == n}
        test_ferplus.write_folder(kept / "ferplus", f"FER2013{split}", ours)
    test_ferplus.write_pixels(kept / "fer2013", tuple(rows))
    test_rafdb.write_official(kept / "rafdb", "original", annotated=True)
    train, valid = ({str(first + i): i % 8 for i in range(16)} for first in (0, 16))
    test_affectnet.write_sets(kept / "affectnet", train=train, val=valid)
    test_ckplus.write_folders(kept / "ckplus")
    (kept / "folder").symlink_to(kept / "images")


def _named_files(folder: Path) -> None:
    """Add what the pages have as a reader's own: images, a film, another model. Git does not see them."""
    names = ["portrait.jpg", "a.jpg", "holiday", "film.mp4", "other.safetensors", "old.safetensors"]
    (folder / ".git/info/exclude").write_text("\n".join(names))
    images = [cv2.imread(str(path)) for path in sorted((folder / "data/raw/sample/images").iterdir())[:6]]
    (folder / "holiday").mkdir()
    for name, image in zip(("portrait.jpg", "a.jpg", "holiday/1.jpg", "holiday/2.jpg"), images, strict=False):
        cv2.imwrite(str(folder / name), image)
    film = cv2.VideoWriter(
        str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, images[0].shape[1::-1]
    )
    for image in images:
        film.write(image)
    film.release()
    for name in ("other.safetensors", "old.safetensors"):
        shutil.copy(folder / "models/classifier.safetensors", folder / name)
