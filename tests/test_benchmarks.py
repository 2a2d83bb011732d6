"""The benchmarks, as the documentation calls them, with small sizes in the small project: they run to their end."""

from __future__ import annotations

import contextlib
import inspect
import io
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from scripts.screenshots import CHROMIUM
from tests import doc_commands, doc_project, toy
from tests.doc_commands import Command

# Arguments by name, and constants of the module, that make a benchmark small.
ARGUMENTS: dict[str, Any] = {
    "rounds": "1",
    "seconds": "0.2",
    "loops": "1",
    "model": "light",
    "steps": "1",
    "count": "8",
    "counts": ("200",),
    "cases": ("small",),
    "kills": "1",
    "commands": ("check",),
    "epochs": "1",
    "folds": "2",
}
CONSTANTS: dict[str, dict[str, Any]] = {
    "gan": {
        "FACES": 16,
        "BATCH": 8,
        "WIDTH": 4,
        "SIZE": 16,
        "CLASSES": "ab",
        "FACES_OF_A_CLASS": 16,
        "EPOCHS_OF_EIGHT": 1,
        "worthwhile_processes": lambda _: 1,
    },
    "loader": {"STEPS": 1},
    "silent": {"COMMANDS": ["fer check"], "SETTINGS": {}},
    "demo": {"COMMAND": [sys.executable, "-c", "print(1)"]},
    "memory": {"STAGES": ["ingest"]},
    "turned": {"DETECTORS_USED": ("scrfd",), "TURNS": (180,)},
    "near_duplicates": {"MANY": 100},
    # The script below asks for no network, so timm need not be imported for it.
    "timm_script": {
        "ROUNDS": 1,
        "FLAGS": {"default": []},
        "LAUNCH": "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
    },
}
DETECT = ("align", "memory", "near_duplicates", "predict", "scale", "silent", "turned")
# What a reader has done before.
BEFORE = {
    "align": "fer ingest ferplus; fer ingest facial_expressions",
    "near_duplicates": "fer ingest ferplus; fer align ferplus",
    "scale": "fer ingest ferplus; fer align ferplus",
    "turned": "fer ingest ferplus; fer ingest facial_expressions",
}
# In the place of timm's own script, which is in no package: it logs as that does.
SCRIPT = 'print("Train: 1 [   0/1 (100%)]  Time: 0.1s,  640.00/s  (0.1s,  640.00/s)")'
# One command of each benchmark: others differ in its arguments, which are made small anyway.
COMMANDS = {
    command.words[1]: command
    for page in doc_commands.PAGES
    for command in doc_commands.commands(page)
    if command.line.startswith("python benchmarks/")
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Path]:
    """The small project, with the detector's weights where they can be had."""
    folder = tmp_path_factory.mktemp("benchmarks") / "small"
    folder.mkdir()
    threads, others = torch.get_num_threads(), cv2.getNumThreads()
    with pytest.MonkeyPatch.context() as patch:
        doc_project.make(folder, patch, programs)
        toy.set_params(folder, **{"train.batch_size": 8})
        (folder / "train.py").write_text(SCRIPT)
        yield folder
    torch.set_num_threads(threads)
    cv2.setNumThreads(others)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_benchmark_runs(
    small: Path, command: Command, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    name = Path(command.words[1]).stem
    if name in DETECT:
        found = request.getfixturevalue("weights_file").parent
        if not (small / "models/detector").exists():
            (small / "models/detector").symlink_to(found)
    if name == "report" and CHROMIUM is None:
        pytest.skip("found no chromium on the PATH")
    if name == "silent" and shutil.which("strace") is None:
        pytest.skip("found no strace on the PATH")
    for before in doc_commands.parsed(command.page, BEFORE.get(name, "")):
        doc_project.execute(small, before)
    module = import_module(f"benchmarks.{name}")
    for constant, value in CONSTANTS.get(name, {}).items():
        monkeypatch.setattr(module, constant, value)
    arguments = inspect.signature(module.main).bind(*command.words[2:])
    arguments.apply_defaults()
    arguments.arguments |= {key: size for key, size in ARGUMENTS.items() if key in arguments.arguments}
    if name in ("align", "turned"):  # an image takes half a second at 640 x 640
        arguments.arguments["count"] = "3"
    printed = io.StringIO()
    with contextlib.chdir(small), contextlib.redirect_stdout(printed):
        module.main(*arguments.args, **arguments.kwargs)
    assert any(character.isdigit() for character in printed.getvalue())
