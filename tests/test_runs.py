"""`fer runs`: what each experiment changed, and its scores, in the width of a terminal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core import git
from tests import toy
from tests.doc_project import run

ROOT = Path(__file__).parents[1]
Rows = dict[str, list[str]]


def experiment(folder: Path, name: str, changes: dict[str, object], accuracy: object) -> None:
    """Add a commit where DVC keeps an experiment of the last commit, and go back."""
    base = run(folder, "git", "rev-parse", "HEAD").strip()
    toy.set_params(folder, **changes)
    scores(folder, accuracy)
    run(folder, "git", "commit", "-qam", name)
    run(folder, "git", "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", "HEAD")
    run(folder, "git", "reset", "-q", "--hard", base)


def scores(folder: Path, accuracy: object) -> None:
    figures = {"accuracy": accuracy, "macro_recall": 0.5, "macro_f1": None}
    report = {"train": figures | {"accuracy": 1.0}, "test": figures} if accuracy is not None else {}
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics/evaluate.json").write_text(json.dumps(report))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for key in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(key, "tester@example.com")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    scores(tmp_path, 0.75)
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "git", "add", ".")
    run(tmp_path, "git", "commit", "-qm", "first")
    return tmp_path


def listed(*options: str) -> Rows:
    """Return the cells of each run after its name; a cell that was wrapped is put together."""
    done = CliRunner().invoke(app, ["runs", *options])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 120
    starts = [match.start() for match in re.finditer("-+", lines[1])]
    rows: list[list[str]] = []
    for line in lines[2:]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        if cells[2]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return {row[0].replace(" ", ""): row[1:] for row in rows}


def test_each_experiment_has_what_it_changed_and_the_scores_of_its_last_split(project: Path) -> None:
    experiment(project, "mixcut", {"augment": "mixcut", "augments.mixcut.alpha": 0.5, "workers": 2}, 0.8)
    experiment(project, "unused", {"augments.mixup.alpha": 0.1}, None)
    experiment(project, "edited", {"seed": 5}, "high")
    assert listed() == {
        "HEAD": ["", "test", "0.7500", "0.5000", "-"],
        "mixcut": ["augment=mixcut, augments.mixcut.alpha=0.5", "test", "0.8000", "0.5000", "-"],
        "unused": ["", "-", "-", "-", "-"],
        "edited": ["seed=5", "test", "-", "0.5000", "-"],
    }


def test_the_list_goes_to_a_file(project: Path) -> None:
    experiment(project, "=mixcut", {"augment": "mixcut", "seed": 3}, 0.123456)
    for name in ("runs.csv", "runs.md"):
        done = CliRunner().invoke(app, ["runs", "--output", name])
        assert done.exit_code == 0, done.output
        assert done.output == f"runs: wrote {name}\n"
    table = pd.read_csv("runs.csv").set_index("run")
    assert table.loc["'=mixcut", "changed"] == "seed=3, augment=mixcut"
    assert table["accuracy"].tolist() == [0.75, 0.123456]
    assert table["macro_f1"].isna().all()
    assert "| seed=3, augment=mixcut | test" in Path("runs.md").read_text()
    refused = CliRunner().invoke(app, ["runs", "--output", "runs.txt"])
    assert str(refused.exception) == "--output: found runs.txt, allowed: a file that ends in .md, .csv"


def test_long_names_and_many_changes_are_wrapped(project: Path) -> None:
    name = "a-very-long-name-of-an-experiment-on-which-somebody-spent-an-afternoon"
    experiment(
        project, name, {"seed": 7, "train.epochs": 1, "train.batch_size": 9, "labels.rule": "majority"}, 0.5
    )
    changed = listed()[name][0]
    assert all(
        one in changed for one in ("seed=7", "train.epochs=1", "train.batch_size=9", "labels.rule=majority")
    )


def test_experiments_of_other_commits_are_listed_on_request(project: Path) -> None:
    experiment(project, "old", {"seed": 2}, 0.6)
    run(project, "git", "commit", "-q", "--allow-empty", "-m", "second")
    experiment(project, "new", {"seed": 3}, 0.7)
    assert list(listed()) == ["HEAD", "new"]
    assert {name: cells[0] for name, cells in listed("--all").items()} == {
        "HEAD": "",
        "old": "seed=2",
        "new": "seed=3",
    }


def test_without_a_commit_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["runs"])
    assert done.exit_code == 1
    assert (
        str(done.exception) == "fer runs: found no commit here; run this in the git repository of the project"
    )
    assert git.output("rev-parse", "HEAD") is None


def test_what_is_printed_of_ferplus_fits(project: Path, shared_data: Path) -> None:
    """All rows of the published table, and the images of one split; `run` checks the width."""
    if not (shared_data / "ferplus").is_dir():
        pytest.skip(f"no FER+ in {shared_data}")
    raw = project / "data/raw/ferplus"
    raw.mkdir(parents=True)
    for name in ("fer2013new.csv", "FER2013Valid"):
        (raw / name).symlink_to(shared_data / "ferplus" / name)
    toy.set_params(
        project, datasets=["ferplus"], gan="none", **{"align.mode": "none", "ingest.rejected": "accept"}
    )
    for words in ("check", "ingest ferplus", "align ferplus", "label", "runs"):
        run(project, "fer", *words.split())
    printed = run(project, "fer", "data")
    assert all(
        text in printed for text in ("missing_image          32,134", "valid", "unknown", "48 x 48 x 1")
    )
