"""Scores by gender, age and race, from the files of a data set to the report and the model card."""

from __future__ import annotations

import csv
import json
import re
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, recall_score
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.core.files import md5_of
from pipeline.evaluation.groups import group_scores
from pipeline.evaluation.intervals import FEW, intervals
from pipeline.export import card
from pipeline.export.lineage import Lineage, Stage
from pipeline.export.metadata import metadata
from pipeline.export.parity import Parity
from pipeline.inference import model_file
from pipeline.stages import evaluate
from pipeline.tables import paths, schema
from pipeline.tables.attributes import check_groups
from pipeline.tables.vocabulary import CLASSES
from tests import toy
from tests.test_report import Page

ROOT = Path(__file__).parents[1]
SPLITS = ("train", "valid", "test")
SCORES = ["accuracy", "macro_recall", "macro_f1"]
NAMES = {1: "surprise", 4: "happiness", 7: "neutral"}
# As RAF-DB's authors describe the lines below the landmarks.
CODES = {
    "gender": {0: "male", 1: "female", 2: "unknown"},
    "race": {0: "Caucasian", 1: "African-American", 2: "Asian"},
    "age": {0: "0-3", 1: "4-19", 2: "20-39", 3: "40-69", 4: "70+"},
}
SETTINGS = {
    "datasets": ["rafdb"],
    "classes": list(NAMES.values()),
    "ingest.rafdb": "aligned",
    "align.mode": "none",
    "align.face_size": 16,
    "labels.duplicates": "keep",
    "gan": "none",
    "model": "light",
    "augment": "none",
    "train.crop": 16,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.device": "cpu",
    "evaluate.bootstrap": 40,
    "evaluate.mistakes": 1,
    "evaluate.groups": ["gender", "age"],
}


def fer(*arguments: str) -> str:
    """Return the output of a command; raise its error."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def report() -> dict[str, Any]:
    return json.loads((paths.METRICS / "evaluate.json").read_text())


def write_tree(root: Path) -> pd.DataFrame:
    """Write RAF-DB's aligned images with their attributes; return the attributes by name of the image.

    Of the last three test images, one has no annotation, one a damaged one, and one a damaged age.
    """
    rng = np.random.default_rng(0)
    rows, lines = [], []
    for split, count in (("train", 40), ("test", 150)):
        for i in range(count):
            stem, code = f"{split}_{i:04}", list(NAMES)[i % 3]
            # The classes overlap, so that the network makes mistakes.
            shade = rng.normal(70 + 45 * (i % 3), 35)
            face = rng.normal(shade, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            attributes = [int(rng.choice(n, p=p)) for n, p in ((3, (0.4, 0.5, 0.1)), (3, None), (5, None))]
            manual = "".join(f"{x}\t{x}\n" for x in range(5)) + "".join(f"{code}\n" for code in attributes)
            known = dict(zip(CODES, attributes, strict=True))
            known = {name: CODES[name][code] for name, code in known.items()}
            match (split, i - count):
                case ("test", -1):
                    manual, known = None, dict.fromkeys(CODES, "unknown")
                case ("test", -2):
                    manual, known = "1\t2\n\0", dict.fromkeys(CODES, "unknown")
                case ("test", -3):
                    manual, known = manual[:-2] + "5\n", known | {"age": "unknown"}
            for path, content in (
                (f"Image/aligned/{stem}_aligned.jpg", cv2.imencode(".jpg", face)[1].tobytes()),
                (f"Annotation/manual/{stem}_manu_attri.txt", manual and manual.encode()),
            ):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                if content is not None:
                    (root / path).write_bytes(content)
            lines.append(f"{stem}.jpg {code}\n")
            rows.append({"id": f"rafdb/{stem}", **known})
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel/list_patition_label.txt").write_text("".join(lines))
    return pd.DataFrame(rows).set_index("id")


class Run(NamedTuple):
    """A folder in which the chain has run, the attributes of its images, and what evaluate printed."""

    folder: Path
    attributes: pd.DataFrame
    printed: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(ROOT / "params.yaml", folder)
    with chdir(folder):
        attributes = write_tree(paths.RAW / "rafdb")
        toy.set_params(folder, **SETTINGS)
        for stage in ("ingest rafdb", "align rafdb", "label", "synthesize", "train"):
            fer(*stage.split())
        return Run(folder, attributes, fer("evaluate"))


@pytest.fixture
def run(finished: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(finished.folder)
    return finished


def by_pandas(faces: pd.DataFrame) -> dict[str, Any]:
    """Return the scores of faces with the columns `label` and `predicted` from their confusion matrix."""
    counts = pd.crosstab(faces.label, faces.predicted)
    right = pd.Series({name: counts.get(name, {}).get(name, 0) for name in counts.index})
    predicted = counts.sum().reindex(counts.index, fill_value=0)
    interval = binomtest(int(right.sum()), len(faces)).proportion_ci(method="wilson")
    return {
        "support": len(faces),
        "accuracy": right.sum() / len(faces),
        "macro_recall": (right / counts.sum(axis=1)).mean(),
        "macro_f1": (2 * right / (counts.sum(axis=1) + predicted)).mean(),
        "classes": len(counts),
        "interval": {"accuracy": {"low": interval.low, "high": interval.high}},
    }


def test_groups_of_rafdb_score_as_pandas_computes_them(run: Run) -> None:
    faces = pd.read_parquet(paths.PREDICTIONS).join(run.attributes, on="id")
    for split in SPLITS:
        scores = report()[split]["groups"]
        assert scores.keys() == {"gender", "age"}
        for attribute, groups in scores.items():
            of_split = faces[faces.split == split]
            expected = {value: by_pandas(of) for value, of in of_split.groupby(attribute)}
            gap = groups.pop("gap")
            assert groups.keys() == expected.keys()
            for value, row in groups.items():
                of = of_split[of_split[attribute] == value]
                numbers = [
                    of[column].map(list(NAMES.values()).index).to_numpy() for column in ("label", "predicted")
                ]
                macro = intervals(*numbers, 3, 40, params.load().seed)
                assert row.pop("interval") == {
                    **macro,
                    "accuracy": pytest.approx(expected[value].pop("interval")["accuracy"]),
                }
                assert row == pytest.approx(expected[value])
            large = pd.DataFrame(expected).T.drop(index="unknown", errors="ignore")[SCORES + ["support"]]
            large = large[large.support >= 30][SCORES]
            widest = large.max() - large.min() if len(large) > 1 else dict.fromkeys(SCORES)
            chance = gap.pop("chance")
            assert gap == pytest.approx(dict(widest)), (split, attribute)
            assert bool(chance) == (len(large) > 1)
    groups = report()["test"]["groups"]
    assert all(0 < groups[attribute]["gap"][key] < 1 for attribute in groups for key in SCORES)
    assert list(groups["age"])[:-1] == ["0-3", "4-19", "20-39", "40-69", "70+", "unknown"]
    assert groups["gender"]["unknown"]["support"] > 10  # also those of whom the annotators were unsure


def test_without_groups_there_is_no_key_and_no_other_number(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = report()
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "_draw", lambda *_: None)
        p = params.load()
        evaluate.run(p.model_copy(update={"evaluate": p.evaluate.model_copy(update={"groups": []})}))
    without = report()
    assert "groups" not in (paths.METRICS / "evaluate.json").read_text()
    (paths.METRICS / "evaluate.json").write_text(json.dumps(before))
    for split in SPLITS:
        assert before[split].pop("groups")
    assert json.dumps(before) == json.dumps(without)


def test_attributes_are_counted_and_so_are_lines_that_hold_none(run: Run) -> None:
    ingested = pq.read_table(paths.INGESTED / "rafdb.parquet").to_pylist()
    notes = json.loads((paths.METRICS / "ingest/rafdb.json").read_text())["notes"]
    assert notes["attributes"] == {
        name: sum(name in dict(row["attributes"] or ()) for row in ingested)
        for name in ("age", "gender", "race")
    }
    assert notes["attributes"]["age"] == 190 - 3
    assert notes["attributes_ignored"] == {"age": 2, "gender": 1, "race": 1}
    assert notes["annotations_absent"] == {"manual": 1}
    assert [row["attributes"] for row in ingested if row["id"] in ("rafdb/test_0148", "rafdb/test_0149")] == [
        None
    ] * 2


def test_the_last_split_is_printed_by_group_with_its_limits(run: Run) -> None:
    groups = report()["test"]["groups"]
    assert "train by gender:" not in run.printed
    for attribute in ("gender", "age"):
        lines = run.printed.split(f"test by {attribute}:")[1].splitlines()[1:]
        gap = groups[attribute].pop("gap")
        for line, (value, row) in zip(lines, groups[attribute].items(), strict=False):
            bounds = row["interval"]["accuracy"]
            interval = f"{bounds['low']:.4f} - {bounds['high']:.4f}"
            accuracy, recall, f1 = (f"{row[key]:.4f}" for key in SCORES)
            words = f"{value} {row['support']} {accuracy} {interval} {recall} {f1} {row['classes']} of 3"
            assert line.split() == words.split()
        below = [line.split()[-3:] for line in lines[len(groups[attribute]) :][:2]]
        assert below == [[f"{of[key]:.4f}" for key in SCORES] for of in (gap, gap["chance"])]
    few = {
        f"{attribute} {value}": row["support"]
        for attribute, rows in groups.items()
        for value, row in rows.items()
        if value != "unknown" and row["support"] < 30
    }
    assert len(few) < len(groups["age"]) + len(groups["gender"]) - 3  # gaps exist
    listed = ", ".join(f"{name} {support}" for name, support in few.items())
    assert f"too few for a reliable score: {listed}." in " ".join(run.printed.split())


def model_card() -> str:
    written = [paths.METRICS / f"{stage}.json" for stage in ("label", "synthesize", "train", "evaluate")]
    outs = {str(path): md5_of(path) for path in written}
    lineage = Lineage({"train": Stage({}, outs, params.load().model_dump())})
    about = metadata(model_file.load(paths.CLASSIFIER, torch.device("cpu")), "", lineage)
    return card.write(about, lineage, {"x.onnx": b""}, [Parity("test", 1, 0.0, None, None)], "")


def test_names_of_groups_are_text_in_the_model_card(run: Run) -> None:
    path = paths.METRICS / "evaluate.json"
    before, hostile = path.read_text(), "a|b`<script>"
    path.write_text(before.replace('"gender"', json.dumps(hostile)).replace('"male"', json.dumps(hostile)))
    try:
        text = model_card()
    finally:
        path.write_text(before)
    shown = r"`a\|b<script>`"
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith(f"| {shown} |")]
    assert [len(row) for row in rows] == [8, 8]
    assert "<script>" not in text.replace("b<script>`", "")


def test_the_report_and_the_model_card_show_the_groups(run: Run) -> None:
    fer("report")
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    text = model_card()
    for attribute, groups in report()["test"]["groups"].items():
        gap = groups.pop("gap")
        head, *rows = page.tables[f"Scores by {attribute} on test"]
        assert head == [attribute, "faces", "accuracy", "macro recall", "macro F1", "classes with faces"]
        shown = {row[0]: [cell.split()[0] if cell else "" for cell in row[1:]] for row in rows}
        gaps, chance = ([f"{of[key]:.4f}" for key in SCORES] for of in (gap, gap["chance"]))
        assert shown.pop("largest gap") == ["", *gaps, ""]
        assert shown.pop("by chance, up to") == ["", *chance, ""]
        assert shown == {
            value: [str(row["support"]), *(f"{row[key]:.4f}" for key in SCORES), str(row["classes"])]
            for value, row in groups.items()
        }
        bounds = groups["unknown"]["interval"]["accuracy"]
        assert f"{bounds['low']:.3f} to {bounds['high']:.3f}" in page.text
        assert f"Accuracy by {attribute} on test" in page.text

        [table] = re.findall(rf"^\| `{attribute}` \|.*?\n\n", text, re.M | re.S)
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
        assert lines.pop() == ["by chance, up to", "", *chance, ""]
        assert lines.pop() == ["largest gap", "", *gaps, ""]
        assert {name.strip("`"): (faces, cells[0].split()[0]) for name, faces, *cells in lines} == {
            value: (str(row["support"]), f"{row['accuracy']:.4f}") for value, row in groups.items()
        }
        assert (
            f"macro recall differs by up to {gap['macro_recall']:.4f} between groups by `{attribute}` (by"
            in text
        )
    assert "Scores were measured by `gender`, `age`, and by no other attribute" in text
    assert "were not measured" not in text


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        (["gender", "hair"], "params.yaml: evaluate.groups: found 'hair', allowed: age, gender, race"),
        ("gender", "params.yaml: evaluate.groups: found 'gender', allowed: a list in square brackets"),
        (["age", "age"], "params.yaml: evaluate.groups: found ['age', 'age'], allowed: each name once"),
    ],
)
@pytest.mark.parametrize("stage", ["label", "evaluate"])
def test_an_attribute_that_no_data_set_has_is_one_line_before_a_training(
    run: Run, stage: str, groups: Any, line: str
) -> None:
    outputs = [paths.LABELS, paths.METRICS / "label.json", paths.METRICS / "evaluate.json"]
    before = [path.read_bytes() for path in outputs]
    toy.set_params(run.folder, **{"evaluate.groups": groups})
    with pytest.raises(UserError) as error:
        fer(stage)
    toy.set_params(run.folder, **SETTINGS)
    assert str(error.value) == line
    assert [path.read_bytes() for path in outputs] == before


@pytest.mark.parametrize(
    ("faces", "line"),
    [
        ([{}, {}], "found 'age', allowed: [], as no data set of this run has attributes"),
        ([{"age": str(i)} for i in range(51)], "found age, which has 51 values, allowed: at most 50 values"),
        ([{"age": "gap"}], "found age, which has the value gap, allowed: any other value"),
    ],
)
def test_values_that_make_no_groups_are_one_line(faces: list[dict[str, str]], line: str) -> None:
    with pytest.raises(UserError) as error:
        check_groups(
            ["age"],
            pa.array([list(face.items()) for face in faces], schema.ingested().field("attributes").type),
        )
    assert str(error.value).startswith(f"params.yaml: evaluate.groups: {line}")


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(2, 8), st.integers(1, 6), st.floats(0, 1))
def test_group_scores_are_scikit_learns(
    seed: int, count: int, classes: int, groups: int, right: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count) * rng.integers(2, size=count)
    predicted = np.where(rng.random(count) < right, labels, rng.integers(classes, size=count))
    values = np.array(["unknown", "10+", "2-9", "0-1", "z", "a"])[rng.integers(groups, size=count)]

    found = group_scores(values.tolist(), labels, predicted, list(CLASSES[:classes]), 0, seed)

    gap = found.pop("gap")
    assert gap.pop("chance") == {}  # no resamples
    order = ["0-1", "2-9", "10+", "a", "z", "unknown"]
    assert list(found) == [value for value in order if value in values]
    assert sum(row["support"] for row in found.values()) == count
    compared = {key: [] for key in SCORES}
    for value, row in found.items():
        truth, guess = labels[values == value], predicted[values == value]
        of = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
        expected = [
            accuracy_score(truth, guess),
            recall_score(truth, guess, **of),
            f1_score(truth, guess, **of),
        ]
        assert [row[key] for key in SCORES] == pytest.approx(expected)
        assert (row["support"], row["classes"]) == (len(truth), len(np.unique(truth)))
        if value != "unknown" and len(truth) >= FEW:
            for key, score in zip(SCORES, expected, strict=True):
                compared[key].append(score)
    for key, scores in compared.items():
        assert gap[key] == (pytest.approx(np.ptp(scores)) if len(scores) > 1 else None)


def test_the_gap_by_chance_is_that_of_groups_shuffled_within_each_class() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(["a", "b", "c", "unknown", "rare"], (240, 160, 80, 80, 20))
    # The groups differ in how many faces of the easy class they have: that alone makes a gap in accuracy.
    easy = np.where(values == "a", 0.8, 0.3)
    labels = np.where(rng.random(580) < easy, 0, rng.integers(1, 3, size=580))
    predicted = np.where(rng.random(580) < np.where(labels == 0, 0.9, 0.5), labels, rng.integers(3, size=580))
    compared = np.isin(values, ["a", "b", "c"])

    found = group_scores(values.tolist(), labels, predicted, list(CLASSES[:3]), 20_000, 1)["gap"]["chance"]

    def of_group(rows: np.ndarray) -> list[float]:
        truth, guess = (of[rows, None] == np.arange(3) for of in (labels, predicted))
        hits = (truth & guess).sum(axis=0)
        f1 = 2 * hits / (truth.sum(axis=0) + guess.sum(axis=0))
        return [hits.sum() / rows.sum(), (hits / truth.sum(axis=0)).mean(), f1.mean()]

    gaps = []
    for _ in range(1000):
        shuffled = values.copy()
        for label in range(3):
            rows = compared & (labels == label)
            shuffled[rows] = rng.permutation(values[rows])
        gaps.append(np.ptp([of_group(shuffled == value) for value in "abc"], axis=0))
    # The standard error of a 95 % quantile of 1,000 values is about 4 % of it; shuffles draw without replacement.
    assert [found[key] for key in SCORES] == pytest.approx(np.percentile(gaps, 95, axis=0), rel=0.1)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a table with two images, in a project that is the working folder."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = paths.RAW / "table"
    (folder / "images").mkdir(parents=True)
    for i in range(2):
        cv2.imwrite(
            str(folder / f"images/{i}.png"),
            np.full((24, 24), 50 + i, np.uint8) + np.arange(24, dtype=np.uint8),
        )
    return folder


def test_columns_of_a_table_are_attributes(table: Path) -> None:
    (table / "labels.csv").write_text(
        "image,label,Gender,attribute.Glasses,race,ethnicity\n0.png,fear,female,yes,,x\n1.png,fear,,,,y\n"
    )
    assert "ignored the columns ethnicity: neither known, nor attribute.<name>, nor votes" in fer(
        "ingest", "table"
    )
    rows = pq.read_table(paths.INGESTED / "table.parquet").to_pylist()
    assert [row["attributes"] for row in rows] == [[("gender", "female"), ("glasses", "yes")], None]
    notes = json.loads((paths.METRICS / "ingest/table.json").read_text())["notes"]
    assert notes["attributes"] == {"gender": 1, "glasses": 1}


def test_a_value_that_names_no_group_rejects_its_row(table: Path) -> None:
    (table / "labels.csv").write_text(f"image,label,age\n0.png,fear,{'9' * 81}\n1.png,fear,{'9' * 80}\n")
    toy.set_params(Path(), **{"ingest.rejected": "accept"})
    fer("ingest", "table")
    with open(paths.INGESTED / "table.rejected.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["row"], row["reason"]) == ("2", "bad_attribute")
    assert row["detail"].endswith(
        "for age, allowed: at most 80 characters in UTF-8 without control characters"
    )


def test_two_columns_for_one_attribute_are_one_line(table: Path) -> None:
    (table / "labels.csv").write_text("image,label,gender,attribute.Gender\n0.png,fear,female,male\n")
    with pytest.raises(UserError, match=r"gender and attribute\.Gender, both for gender"):
        fer("ingest", "table")
