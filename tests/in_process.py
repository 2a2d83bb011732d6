"""DVC, its queue and the stages in the process of the tests: a process of their own costs each five seconds of imports.

What runs is the same code; that processes start, end and are killed is what tests/test_dvc.py and
tests/test_recipes.py look at.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ruamel.yaml
import yaml
from dvc import cli as dvc
from dvc.repo.experiments.queue.celery import LocalCeleryQueue
from dvc.stage import run as stage_run
from dvc.stage.exceptions import StageCmdFailedError
from dvc.utils.serialize import _yaml as serialize
from dvc_task.proc.process import ManagedProcess
from ruamel.yaml.comments import CommentedMap
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core import parallel, programs


def patch(with_: pytest.MonkeyPatch) -> None:
    """Let DVC run stages, the workers of its queue and their experiments here."""
    with_.setattr(stage_run, "_run", _stage)
    with_.setattr(LocalCeleryQueue, "start_workers", _work)
    with_.setattr(ManagedProcess, "run", _managed)
    start = programs.output
    with_.setattr(programs, "output", lambda *words, **more: _dvc(*words) or start(*words, **more))
    work(with_)
    # DVC reads params.yaml and dvc.lock a hundred times for an experiment, dvc.lock as if it had comments to keep.
    load = ruamel.yaml.YAML.load
    read = cache(lambda text: pickle.dumps(load(ruamel.yaml.YAML(typ="safe"), text)))

    def remembered(reader: Any, stream: Any) -> Any:
        if isinstance(stream, str) and (reader.typ == ["safe"] or "#" not in stream):
            return pickle.loads(read(stream))
        return load(reader, stream)

    dump = serialize._dump

    def dumped(data: Any, stream: Any) -> None:
        if isinstance(data, CommentedMap):
            dump(data, stream)
        else:
            yaml.dump(data, stream, Dumper, sort_keys=False)

    with_.setattr(ruamel.yaml.YAML, "load", remembered)
    with_.setattr(serialize, "_dump", dumped)


class Dumper(yaml.CSafeDumper):
    """A dumper in C; DVC's own, in Python, writes dvc.lock in the time that a stage takes here."""


Dumper.add_multi_representer(dict, Dumper.represent_dict)


def work(with_: pytest.MonkeyPatch) -> None:
    """Let what is spread over processes be done in this one, which is large and slow to fork; pickled all the same."""

    def here(function: Any, items: Any, workers: int) -> Any:
        return map(pickle.loads(pickle.dumps(function)), items)

    with_.setattr(parallel, "_in_processes", here)


def _stage(executable: str, command: str, cwd: str, **_: Any) -> None:
    """Take the place of `dvc.stage.run._run`."""
    python, *words = shlex.split(command)
    assert (python, *words[:2]) == ("python", "-m", "pipeline")
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, words[2:])
    print(result.output, result.exception or "")
    if result.exit_code:
        raise StageCmdFailedError(command, result.exit_code)


def _work(self: LocalCeleryQueue, count: int) -> int:
    """Take the place of `start_workers`: what waits is done when this returns."""
    self.celery.loader.import_default_modules()
    with self.celery.connection_for_read() as connection:
        waiting = connection.SimpleQueue("celery")
        with contextlib.suppress(queue.Empty):
            while True:
                message = waiting.get(block=False)
                arguments, named, _ = message.payload
                task = self.celery.tasks[message.headers["task"]]
                task.apply(arguments, named).get()
                self.celery.backend.mark_as_done(message.headers["id"], None)
                message.ack()
    return count


def _managed(self: ManagedProcess) -> None:
    """Take the place of `ManagedProcess.run`."""
    self._make_wdir()
    said = io.StringIO()
    with contextlib.chdir(Path.cwd()), contextlib.redirect_stdout(said):
        self.returncode = dvc.main(self.args[1:])
    Path(self.stdout_path).write_text(said.getvalue())
    self._proc = SimpleNamespace(pid=os.getpid())  # type: ignore[assignment]
    self._dump()


def _dvc(*words: str) -> str:
    if words[:3] != (sys.executable, "-m", "dvc"):
        return ""
    assert dvc.main(list(words[3:])) == 0
    return "done"
