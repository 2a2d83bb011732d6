"""Data sets with classes of their own, from `ingest` to the report, `fer predict` and `fer export`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.tables import paths
from pipeline.tables.vocabulary import VOTES
from tests import toy

PAIN = ("pain", "no_pain")
SEVEN = (
    "sleepy",
    "neutral",
    "happily_surprised",
    "Engaged",
    "not-engaged",
    "fear",
    "a_name_with_forty_letters" + "_" * 15,
)
IMAGES = 20  # of each class
SPLITS = ("train", "train", "train", "valid", "test")


def fer(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, f"{words}: {done.output}"
    return done.output


def image(path: Path, shade: float, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.normal(shade, 20, (20, 20)).clip(0, 255).astype(np.uint8)).save(path)


def write_folder(raw: Path) -> None:
    """Write images of pain and of no pain, dark and bright, in folders that spell the classes in other ways."""
    rng = np.random.default_rng(0)
    for i in range(2 * IMAGES):
        image(raw / SPLITS[i // 2 % 5] / ("Schmerz", "No pain")[i % 2] / f"{i}.png", 60 + 120 * (i % 2), rng)


def write_table(raw: Path) -> None:
    """Write images of seven classes, and the votes of ten people for each; a few cannot tell."""
    rng = np.random.default_rng(1)
    rows = [["image", *SEVEN, "unknown", "split"]]
    for i in range(7 * IMAGES):
        image(raw / "images" / f"{i}.png", 20 + 35 * (i % 7), rng)
        shares = np.full(8, 0.05)
        shares[i % 7] = 0.65
        rows.append([f"{i}.png", *rng.multinomial(10, shares), SPLITS[i // 7 % 5]])
    with (raw / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def settings(project: Path, **changes: object) -> None:
    """Set a chain that takes seconds."""
    small = {
        "align.mode": "none",
        "align.face_size": 16,
        "train.crop": 16,
        "train.epochs": 2,
        "train.batch_size": 16,
        "train.device": "cpu",
        "train.precision": "float32",
        "model": "light",
        "gans.images_per_class": 3,
        "gans.judge_epochs": 1,
        "gans.processes": 1,
        "evaluate.bootstrap": 0,
        "evaluate.mistakes": 8,
        "workers": 1,
        "ingest.names": {"Schmerz": "pain"},
    }
    for gan in ("dcgan", "cgan"):
        small |= {
            f"gans.{gan}.{key}": value
            for key, value in (("epochs", 1), ("least_steps", 0), ("latent", 4), ("width", 4))
        }
    toy.set_params(project, **small, **changes)


class Chain(NamedTuple):
    """A data set, its classes in label order, the classes with generated faces, and the method that makes them."""

    dataset: str
    classes: tuple[str, ...]
    generated: tuple[str, ...]
    gan: str


CHAINS = [Chain("folder", PAIN, PAIN, "dcgan"), Chain("table", SEVEN, ("sleepy", "fear"), "cgan")]


@pytest.mark.parametrize("chain", CHAINS, ids=["two classes", "seven classes"])
def test_classes_of_its_own_go_from_ingest_to_the_report_and_to_prediction(
    project: Path, chain: Chain
) -> None:
    dataset, classes, generated, gan = chain
    raw = project / "data/raw" / dataset
    write_folder(raw) if dataset == "folder" else write_table(raw)
    settings(project, datasets=[dataset], classes=list(classes), gan=gan, **{"gans.classes": list(generated)})
    for stage in (
        "check",
        f"ingest {dataset}",
        f"align {dataset}",
        "label",
        "synthesize",
        "train",
        "evaluate",
    ):
        fer(*stage.split())

    expected = labels_of(raw, classes)
    found = pq.read_table(paths.LABELS).to_pandas().set_index("id")["label"]
    assert found.to_dict() == expected.dropna().to_dict()
    counts = json.loads((paths.METRICS / "label.json").read_text())
    assert sum(counts["kept"].values()) == expected.count()
    assert counts["dropped"].get("unknown", 0) == expected.isna().sum()
    assert {tuple(of_split) for of_split in counts["classes"].values()} == {classes}

    scores = json.loads((paths.METRICS / "evaluate.json").read_text())
    predictions = pd.read_parquet(paths.PREDICTIONS)
    test = predictions[predictions["split"] == "test"]
    assert tuple(scores["test"]["per_class"]) == classes
    for name in classes:
        own = test[test["label"] == name]
        assert scores["test"]["per_class"][name]["recall"] == pytest.approx((own["predicted"] == name).mean())
    assert set(pd.read_csv(paths.PLOTS / "evaluate/test/confusion.csv")["actual"]) == set(test["label"])

    synthetic = json.loads((paths.METRICS / "synthesize.json").read_text())
    assert [synthetic[name]["images"] for name in generated] == [3] * len(generated)
    assert set(json.loads(Path("models/gan/generators.json").read_text())) == set(generated)
    for name in generated:
        assert (paths.PLOTS / f"synthesize/{name}.neighbours.png").is_file()

    fer("report")
    page = Path("report.html").read_text()
    assert all(page.count(name) > 10 for name in classes)
    fer("predict", str(raw), "--output", "p.csv", "--annotate", "drawn")
    table = pd.read_csv("p.csv")
    shares = table[[f"p_{name}" for name in classes]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert (shares.idxmax(axis=1) == "p_" + table["label"]).all()
    assert len(list(Path("drawn").rglob("*.png"))) == len(table) == len(expected)
    fer("export", "--output", "m.onnx")
    assert f"Recognises {', '.join(classes)} in aligned faces." in Path("m.card.md").read_text()
    assert f"\n{generated[0]}  " in fer("data")


def labels_of(raw: Path, classes: tuple[str, ...]) -> pd.Series:
    """Return the label of each image by id, from the raw data with pandas; NaN if most votes are `unknown`."""
    if raw.name == "folder":
        files = [path.relative_to(raw) for path in raw.rglob("*.png")]
        return pd.Series({f"folder/{path}": PAIN[path.parts[1] == "No pain"] for path in files})
    table = pd.read_csv(raw / "labels.csv")
    # As the rule says: known names come first, in FER+'s order, then those of `classes`. The first one wins a tie.
    order = [name for name in dict.fromkeys((*VOTES, *classes)) if name in table]
    winners = table[order].idxmax(axis=1)
    return winners.where(winners != "unknown").set_axis("table/" + table["image"])


def test_data_sets_with_other_vocabularies_are_mixed_by_name(project: Path) -> None:
    write_folder(project / "data/raw/folder")
    write_table(project / "data/raw/table")
    settings(
        project, datasets=["table", "folder"], classes=["no_pain", "sleepy", "pain", "neutral"], gan="none"
    )
    for dataset in ("table", "folder"):
        fer("ingest", dataset)
        fer("align", dataset)
    own = {name: pq.read_schema(paths.INGESTED / f"{name}.parquet") for name in ("table", "folder")}
    # `folder` has single labels, and `table` no column of the classes that are not declared.
    assert own["folder"].metadata[b"vocabulary"].decode().split(",") == [*VOTES, "no_pain", "pain"]
    assert own["table"].metadata[b"vocabulary"].decode().split(",") == [*VOTES, "sleepy"]

    fer("label")
    counts = json.loads((paths.METRICS / "label.json").read_text())["datasets"]
    assert sum(counts["folder"]["kept"].values()) == 2 * IMAGES
    kept = pq.read_table(paths.LABELS).to_pandas()
    assert set(kept[kept["dataset"] == "folder"]["label"]) == set(PAIN)
    votes = pd.read_csv("data/raw/table/labels.csv").set_index("image")
    votes = votes[["neutral", "fear", "unknown", "sleepy"]]
    winners = votes[votes.any(axis=1)].idxmax(axis=1)
    ours = kept[kept["dataset"] == "table"].set_index("id")["label"]
    assert {name.removeprefix("table/"): value for name, value in ours.items()} == (
        winners[winners.isin(["neutral", "sleepy"])].to_dict()
    )
    assert counts["table"]["dropped"]["class_fear"] == (winners == "fear").sum()


def test_a_class_that_no_record_has_is_refused_with_the_closest_name(project: Path) -> None:
    write_folder(project / "data/raw/folder")
    settings(project, datasets=["folder"], classes=["pain", "no_pain"], gan="none")
    fer("ingest", "folder")
    fer("align", "folder")
    settings(project, datasets=["folder"], classes=["pain", "nopain"], gan="none")
    done = CliRunner().invoke(app, ["label"])
    error = str(done.exception)
    assert error.startswith(
        "params.yaml: classes: found nopain, which no record of folder has, allowed: neutral,"
    )
    assert error.endswith("contempt, pain, no_pain (did you mean no_pain?)")
