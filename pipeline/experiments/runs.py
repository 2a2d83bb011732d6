"""The finished experiments, each with the settings that it changed and its scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core import git, yaml
from pipeline.core.errors import UserError
from pipeline.experiments.scores import HEADLINE, score_at
from pipeline.params.load import PARAMS_FILE
from pipeline.params.settings import MACHINE, flat, in_use
from pipeline.tables.paths import METRICS
from pipeline.tables.vocabulary import SCORED

HEAD = "HEAD"
_FILES = [str(PARAMS_FILE), (METRICS / "evaluate.json").as_posix()]


class Run(NamedTuple):
    """A commit or an experiment.

    Attributes:
        name: of the experiment, or `HEAD`.
        changed: settings that differ from those of the commit that the experiment started from, by dotted key.
            Settings of the machine, and of methods that are not chosen, are left out.
        split: the split of the scores: the last one that was scored, test if there is one; "" without scores.
        scores: accuracy, macro recall and macro F1, 0 to 1; None where the split has none.
    """

    name: str
    changed: dict[str, Any]
    split: str
    scores: dict[str, float | None]


def finished(everywhere: bool) -> Iterator[Run]:
    """Yield HEAD, then its experiments, the oldest first.

    Args:
        everywhere: also yield the experiments that started from other commits.

    Raises:
        UserError: this is no git repository with a commit.
    """
    sha = git.output("rev-parse", "--verify", HEAD)
    if sha is None:
        raise UserError("fer runs: found no commit here; run this in the git repository of the project")
    yield _run(HEAD, HEAD, HEAD)
    for name, ref in git.experiment_refs().items():
        base = "".join(ref.split("/")[2:4])  # refs/exps/ab/cdef.../name
        if everywhere or base == sha:
            yield _run(name, ref, base)


def _run(name: str, ref: str, base: str) -> Run:
    settings, metrics = git.contents(ref, _FILES)
    now, before = _settings(settings), _settings(git.contents(base, _FILES[:1])[0])
    changed = {
        key: now.get(key) for key in in_use(now) if now.get(key) != before.get(key) and key not in MACHINE
    }
    try:
        evaluation = json.loads(metrics)
    except ValueError:
        evaluation = None
    scored = evaluation if isinstance(evaluation, dict) else {}
    split = next((name for name in reversed(SCORED) if name in scored), "")
    scores = {score: score_at(scored, f"{split}.{score}") for score in HEADLINE}
    return Run(name, changed, split, scores)


def _settings(text: bytes) -> dict[str, Any]:
    """Return all settings by dotted key; empty if the file cannot be read."""
    try:
        document = yaml.parse(text.decode("utf-8", "replace"), Path(PARAMS_FILE))
    except UserError:
        return {}
    return flat(document) if isinstance(document, dict) else {}
