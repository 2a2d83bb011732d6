"""`fer ensemble`: averaged probabilities against numpy, scikit-learn and scipy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score, recall_score
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.tables import paths
from tests import finished
from tests.doc_project import run

FACES = 400  # of each split


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with three runs on the same faces, under tags."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    for answers in (1, 2, 3):
        write(f"run-{answers}", answers=answers)
    return tmp_path


def write(tag: str, **options: object) -> None:
    """Commit a run under a tag."""
    splits = ("valid", "test")
    finished.write(Path(), **{"count": len(splits) * FACES, "splits": splits} | options)
    commit(tag)


def commit(tag: str) -> None:
    run(Path(), "git", "add", "-A")
    identity = ("-c", "user.name=fer", "-c", "user.email=fer@example.org")
    run(Path(), "git", *identity, "commit", "-qm", tag)
    run(Path(), "git", "tag", tag)


def table(*runs: str) -> tuple[str, dict[str, dict[str, list[str]]]]:
    """Return what the command prints, and the cells of each row by split and the row's first cell."""
    done = CliRunner().invoke(app, ["ensemble", *runs], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 120
    splits: dict[str, dict[str, list[str]]] = {}
    for line in done.output.splitlines():
        if heading := re.fullmatch(r"(\w+): 400 faces", line):
            rows = splits.setdefault(heading[1], {})
        elif splits and len(cells := re.split(r" {2,}", line)) == 4:
            rows[cells[0]] = cells[1:]
    return done.output, splits


def refused(*runs: str) -> str:
    done = CliRunner().invoke(app, ["ensemble", *runs])
    assert isinstance(done.exception, UserError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_the_average_and_its_gain_are_those_of_other_libraries(repository: Path) -> None:
    tables = []
    for answers in (1, 2, 3):
        run(repository, "git", "checkout", "-q", f"run-{answers}", "--", "data")
        tables.append(pq.read_table(paths.PREDICTIONS).to_pandas().set_index("id"))
    # A run may list its faces in another order.
    pq.write_table(pq.read_table(paths.PREDICTIONS).take(np.arange(2 * FACES)[::-1]), paths.PREDICTIONS)
    commit("turned")

    printed, found = table("run-1", "run-2", "turned")

    assert list(found) == ["valid", "test"]
    scores = {
        "accuracy": accuracy_score,
        "macro recall": lambda true, given: recall_score(true, given, average="macro"),
        "macro F1": lambda true, given: f1_score(true, given, average="macro"),
    }
    for split, rows in found.items():
        own = [frame[frame["split"] == split].sort_index() for frame in tables]
        classes = np.array(sorted(finished.NAMES))
        labels = np.searchsorted(classes, own[0]["label"].to_numpy(str))
        average = np.mean([np.stack(frame["probabilities"]) for frame in own], axis=0)
        predicted = [*(frame["predicted"] for frame in own), np.array(finished.NAMES)[average.argmax(axis=1)]]
        given = [np.searchsorted(classes, np.array(names, str)) for names in predicted]
        for column, score in enumerate(scores.values()):
            *singles, averaged = (score(labels, each) for each in given)
            best = int(np.argmax(singles))
            expected = {
                "run-1": singles[0],
                "run-2": singles[1],
                "turned": singles[2],
                "average of 3 runs": averaged,
            }
            assert {name: rows[name][column] for name in expected} == {
                name: f"{value:.4f}" for name, value in expected.items()
            }
            gains = {
                "gain over the best run": lambda true, *all, best=best, score=score: (
                    score(true, all[-1]) - score(true, all[best])
                ),
                "gain over the mean of the runs": lambda true, *all, score=score: (
                    score(true, all[-1]) - np.mean([score(true, each) for each in all[:-1]])
                ),
            }
            for name, gain in gains.items():
                value, low, high = map(float, re.findall(r"[+-]\d\.\d+", rows[name][column]))
                assert value == pytest.approx(gain(labels, *given), abs=5.1e-5)
                assert rows[name][column].endswith("*") == (low > 0 or high < 0)
                if split == "valid":  # one split is enough: scikit-learn takes its time
                    continue
                interval = bootstrap(
                    (labels, *given),
                    gain,
                    paired=True,
                    vectorized=False,
                    method="percentile",
                    n_resamples=150,
                    rng=0,
                ).confidence_interval
                assert (low, high) == pytest.approx(tuple(interval), abs=0.012)
    assert "valid chose the epoch of run-1, run-2, turned, so its scores are too high." in printed


def test_valid_is_not_blamed_where_it_chose_nothing(repository: Path) -> None:
    for tag in ("run-1", "run-2"):
        run(repository, "git", "checkout", "-q", "-f", tag)
        lock = json.loads(Path("dvc.lock").read_text())
        lock["stages"]["evaluate"]["params"]["params.yaml"]["train.best"] = "last"
        Path("dvc.lock").write_text(json.dumps(lock))
        commit(f"{tag}-last")
    assert "chose the epoch" not in table("run-1-last", "run-2-last")[0]
    assert "valid chose the epoch of run-3, so" in table("run-1-last", "run-3")[0]


def test_runs_that_cannot_be_averaged_are_refused(repository: Path) -> None:
    assert (
        refused("run-1", "run-1") == "fer ensemble: found one run, run-1, allowed: two or more different runs"
    )
    assert refused("run-1", "nothing").startswith("experiment: found 'nothing', allowed: workspace, ")

    write("test-only", answers=1, splits=("test",), count=FACES)
    assert refused("run-1", "test-only") == (
        "test-only: found the splits test, allowed: those of run-1: valid, test"
    )
    write("other-classes", answers=1, names=["neutral", "happiness", "anger"])
    assert refused("run-1", "other-classes") == (
        "other-classes: found the classes neutral, happiness, anger, allowed: those of run-1: neutral, happiness, fear"
    )
    write("fewer", answers=1, count=2 * FACES - 2)
    assert refused("run-1", "fewer") == (
        "fewer: valid: found 399 faces, 399 of them in run-1, allowed: the 400 faces of run-1"
    )
    write("others", answers=1, word="other")
    assert refused("run-1", "others") == (
        "others: valid: found 400 faces, 0 of them in run-1, allowed: the 400 faces of run-1"
    )
    write("relabelled", seed=5, answers=1)
    assert re.fullmatch(
        r"relabelled: valid: found other labels for \d+ faces, allowed: the labels of run-1",
        refused("run-1", "relabelled"),
    )
    predictions = pq.read_table(paths.PREDICTIONS)
    worse = pa.array([[1.0, 0.0, 0.0]] * len(predictions), predictions.schema.field("probabilities").type)
    place = predictions.schema.get_field_index("probabilities")
    pq.write_table(predictions.set_column(place, "probabilities", worse), paths.PREDICTIONS)
    commit("mixed-up")
    assert refused("run-1", "mixed-up") == (
        "mixed-up: data/predictions.parquet does not match metrics/evaluate.json. Run `dvc repro`."
    )
