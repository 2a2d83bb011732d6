"""`--help` and shell completion: their output, and that they import nothing slow."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.params import methods

ROOT = Path(__file__).parents[1]
FER = typer.main.get_command(app)
# Modules that take noticeably long to import.
HEAVY = {"torch", "cv2", "pandas", "pyarrow", "matplotlib", "onnxruntime", "pydantic", "sklearn"}


def commands(command: Any = FER, path: str = "") -> Iterator[str]:
    """Yield the words of each command."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}".strip())


@pytest.mark.parametrize("path", commands())
def test_every_help_has_an_example_that_can_be_typed(path: str) -> None:
    called_by = path.split()
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*called_by, "--help"], prog_name="fer")
    assert result.exit_code == 0, result.output
    shown = [line.strip() for line in result.output.splitlines()]
    after = shown[next(i for i, line in enumerate(shown) if line.startswith("Example")) + 1 :]
    examples = [line for line in after if line]
    assert examples
    for example in examples:
        fer, *words = shlex.split(example)
        assert (fer, words[: len(called_by)]) == ("fer", called_by)
        called: Any = FER
        while words and words[0] in getattr(called, "commands", {}):
            called = called.commands[words.pop(0)]
        if not {"--help", "--install-completion"} & {*words}:  # these act at once
            called.make_context("fer", words)  # rejects unknown options and arguments


def test_examples_stay_lines_where_help_is_plain() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "ingest", "--help"],
        env=os.environ | {"TYPER_USE_RICH": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "─" not in done.stdout
    assert "\n  fer ingest ferplus\n" in done.stdout


def answers(*words: str, complete: str = "") -> list[str]:
    """Run `fer` without the slow modules; return its output lines."""
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)})); from pipeline.cli import main; main()"
    asked = {"_FER_COMPLETE": "complete_bash", "COMP_WORDS": complete, "COMP_CWORD": str(complete.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (asked if complete else {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_a_shell_completes_names() -> None:
    assert answers(complete="fer ingest ") == list(methods.choices("dataset"))
    assert answers(complete="fer align fer") == ["fer2013", "ferplus"]
    assert answers(complete="fer recipe show mixcut_r") == ["mixcut_rafdb"]
    assert answers(complete="fer doc") == ["doctor"]


def test_help_answers_without_what_the_stages_load() -> None:
    assert any("Summarise data/" in line for line in answers("--help"))
