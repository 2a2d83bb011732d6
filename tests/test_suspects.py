"""`fer labels suspects` on small tables: wrong labels come first, and people and copies are in one fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline import params
from pipeline.cli import app
from pipeline.commands import labels as labels_command
from pipeline.core.errors import UserError
from pipeline.inference.samples import Samples
from pipeline.stages import label
from pipeline.suspects import cross_validation, folds, ranking
from tests import toy
from tests.test_label import image, metrics, table, write_dataset

CLASSES = ["neutral", "happiness", "surprise"]
WRONG = 8
OPTIONS = ("--folds", "2", "--epochs", "6", "--count", "8")
SHADES = {
    "neutral": (60, 60),
    "happiness": (190, 60),
    "surprise": (60, 190),
}  # of the upper and the lower half


def write(project: Path, person: str | None = None) -> dict[str, tuple[str, str]]:
    """Write and label faces that are easy to tell apart. Return the wrong label and the right one, by id.

    All faces that are labelled surprise show one person, if it is named.
    """
    rng = np.random.default_rng(0)
    wrong, rows = {}, []
    for i in range(150):
        right = CLASSES[i % 3]
        given = CLASSES[(i + 1 + i // 3 % 2) % 3] if i < WRONG else right
        shade = np.repeat(SHADES[right], toy.SIZE // 2)[:, None] + rng.normal(0, 25, (toy.SIZE, toy.SIZE))
        split = "valid" if i % 10 == 9 else "train"
        face = shade.clip(0, 255).astype(np.uint8)
        group = person if given == "surprise" else None
        rows.append(image(f"{i:03}.png", split, given, face=face, group=group))
        if i < WRONG:
            wrong[f"table/{i:03}.png"] = (given, right)
    write_dataset("table", *rows)
    toy.set_params(
        project,
        **{
            "datasets": ["table"],
            "classes": CLASSES,
            "gan": "none",
            "align.face_size": toy.SIZE,
            "train.crop": toy.SIZE,
            "train.device": "cpu",
            "train.precision": "float32",
        },
    )
    label.run(params.load())
    return wrong


def suspects(*options: str) -> Result:
    return CliRunner().invoke(app, ["labels", "suspects", *OPTIONS, *options])


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().glob("suspects.*")}


def test_wrong_labels_come_first_and_can_be_left_out(project: Path) -> None:
    wrong = write(project)
    result = suspects()
    assert result.exit_code == 0, result.output
    found = pd.read_csv("suspects.csv")
    assert dict(zip(found["id"], zip(found["label"], found["suggested"], strict=True), strict=True)) == wrong
    assert found["rank"].tolist() == list(range(1, WRONG + 1))
    assert set(found["split"]) == {"train"}
    assert found["label_probability"].is_monotonic_increasing
    assert (found["label_probability"] < found["suggested_probability"]).all()
    assert "the 8 most doubtful are in suspects.csv, 8 of them in suspects.png" in result.output
    with Image.open("suspects.png") as sheet:
        assert sheet.size[0] > sheet.size[1] > 100

    listed = project / "data/exclude/wrong.csv"
    listed.parent.mkdir(parents=True)
    listed.write_bytes((project / "suspects.csv").read_bytes())
    toy.set_params(project, **{"labels.exclude": "data/exclude/wrong.csv"})
    label.run(params.load())
    assert metrics()["dropped"] == {"excluded": WRONG}
    assert not wrong.keys() & table().keys()


def test_faces_of_a_class_that_is_in_one_fold_are_not_judged(project: Path) -> None:
    wrong = write(project, person="anna")
    surprised = sum(row["label"] == "surprise" for row in table().values() if row["split"] == "train")
    result = suspects()
    assert f"suspects: {surprised} faces of surprise are not judged" in result.output
    found = pd.read_csv("suspects.csv")
    assert set(found["id"]) <= {id_ for id_, (given, _) in wrong.items() if given != "surprise"}
    assert f"suspects: {135 - surprised} faces of train, 2 folds" in result.output


def test_no_classifier_scores_a_face_it_has_seen_and_a_run_that_was_stopped_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project)
    learned: list[set[str]] = []
    held_out: list[set[str]] = []
    train, score = cross_validation.trained, cross_validation.probabilities

    def recorded(samples: Samples, *arguments: Any) -> Any:
        learned.append(set(samples.ids.to_pylist()))
        return train(samples, *arguments)

    def stopped(*arguments: Any) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(cross_validation, "trained", recorded)
    monkeypatch.setattr(cross_validation, "probabilities", stopped)
    assert suspects().exit_code != 0
    assert outputs() == {}
    judges = {path.name: path.stat().st_mtime_ns for path in Path("models/judges").iterdir()}
    assert len(judges) == 1

    at = Samples.at

    def scored(samples: Samples, rows: np.ndarray) -> Samples:
        held_out.append(set(samples.ids.take(rows).to_pylist()))
        return at(samples, rows)

    learned.clear()
    monkeypatch.setattr(Samples, "at", scored)
    monkeypatch.setattr(cross_validation, "probabilities", score)
    result = suspects()
    assert result.exit_code == 0, result.output
    train_ids = {id_ for id_, row in table().items() if row["split"] == "train"}
    assert len(learned) == 2
    assert learned[0] | learned[1] == train_ids
    assert not learned[0] & learned[1], "with two folds each classifier learns from what the other one scores"
    assert all(seen in held_out and train_ids - seen in held_out for seen in learned)

    first = outputs()
    assert first.keys() == {"suspects.csv", "suspects.png"}
    assert suspects("--output", "again/suspects.csv").exit_code == 0
    assert {name: Path("again", name).read_bytes() for name in first} == first


def test_people_and_copies_are_in_one_fold_and_labels_in_equal_shares(project: Path) -> None:
    rng = np.random.default_rng(1)
    people = [f"person {i}" if i < 12 else None for i in rng.integers(0, 60, 120)]
    copies = [f"image {i}" if i < 12 else "" for i in rng.integers(0, 60, 120)]
    faces = {name: rng.integers(0, 256, (16, 16), np.uint8) for name in {*copies} - {""}}
    rows = [
        image(
            f"{i:03}",
            "train",
            CLASSES[i % 3],
            pixels=copy,
            group=person,
            face=faces.get(copy, rng.integers(0, 256, (16, 16), np.uint8)),
        )
        for i, (person, copy) in enumerate(zip(people, copies, strict=True))
    ]
    write_dataset("table", *rows)
    toy.set_params(project, datasets=["table"], classes=CLASSES, gan="none")
    label.run(params.load())

    labels = np.arange(120) % 3
    groups = folds.read_groups([f"table/{i:03}" for i in range(120)], ["table"])
    fold = pd.Series(folds.draw(labels, groups, 4, seed=1))
    assert set(fold) == {0, 1, 2, 3}
    for keys in (pd.Series(people), pd.Series(copies).replace("", None)):
        assert (fold.groupby(keys).nunique() == 1).all()
        assert keys.dropna().duplicated().sum() > 5, "several faces share a key"
    shares = pd.crosstab(fold, labels)
    assert shares.to_numpy().min() >= 7, "of 10 of each label in each fold"
    assert not fold.equals(pd.Series(folds.draw(labels, groups, 4, seed=2)))
    with pytest.raises(
        UserError, match="--folds: found 9 folds for 8 people or images of split train, allowed"
    ):
        folds.draw(labels[:16], np.arange(16) % 8, 9, seed=1)


def test_the_order_is_that_of_the_probability_of_the_label() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.full(5, 0.5), 400).astype(np.float32)
    labels = rng.integers(0, 5, 400)
    own = pd.Series(probabilities[np.arange(400), labels])
    expected = own[own < probabilities.max(axis=1)].sort_values().index
    found = ranking.rank(labels, probabilities, np.ones(400, bool))
    assert found.rows.tolist() == expected.tolist()
    some = rng.random(400) < 0.5
    assert ranking.rank(labels, probabilities, some).rows.tolist() == [i for i in expected if some[i]]
    assert found.suggested.tolist() == probabilities[expected].argmax(axis=1).tolist()
    assert found.first(3).rows.tolist() == expected[:3].tolist()


def test_what_cannot_work_is_said_in_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = suspects("--output", "suspects.txt")
    assert str(result.exception) == "--output: found suspects.txt, allowed: a name that ends in .csv"
    assert "data/labels.parquet: not found" in str(suspects().exception)
    monkeypatch.setattr(labels_command, "find_spec", lambda name: None)
    assert "pip install cleanlab" in str(suspects().exception)
    assert all(isinstance(result.exception, UserError) for result in (result, suspects()))
