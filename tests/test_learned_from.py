"""A GAN learns from one data set, the classifier from another, and both are scored: one run on published layouts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML

from pipeline import params
from pipeline.core.files import md5_of
from pipeline.export import card
from pipeline.export.lineage import Lineage, Stage
from pipeline.export.metadata import metadata
from pipeline.export.parity import Parity
from pipeline.inference import model_file
from pipeline.report.page import render
from pipeline.report.predictions import predictions
from pipeline.report.revisions import Workspace
from pipeline.report.run import FinishedRun
from pipeline.report.score_tables import split_scores
from pipeline.stages import align, evaluate, ingest, label, synthesize, train
from pipeline.tables import paths, store
from tests import toy

ROOT = Path(__file__).parents[1]
# CK+48's folder and FER2013's code of each class.
CLASSES = {"anger": ("anger", 0), "happiness": ("happy", 3)}
SUBJECTS, FRAMES = 14, 2
USAGES = {"Training": 30, "PublicTest": 8, "PrivateTest": 10}
SETTINGS = {
    "datasets": ["ckplus", "fer2013"],
    "gans.datasets": ["ckplus"],
    "train.datasets": ["fer2013"],
    "classes": list(CLASSES),
    "align.mode": "none",
    "align.face_size": 16,
    "gan": "dcgan",
    "gans.classes": list(CLASSES),
    "gans.images_per_class": 6,
    "gans.judge_epochs": 1,
    "gans.processes": 1,
    "gans.dcgan.epochs": 1,
    "gans.dcgan.least_steps": 0,
    "gans.dcgan.width": 4,
    "gans.dcgan.latent": 4,
    "model": "light",
    "train.crop": 16,
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.device": "cpu",
    "evaluate.bootstrap": 0,
}


def face(number: int, code: int) -> np.ndarray:
    """Return a face of noise, brighter for happiness."""
    return np.random.default_rng(number).integers(0, 200 + 18 * code, (48, 48), np.uint8)


def write_ckplus(root: Path) -> None:
    """Write the folders of CK+48: every subject shows one expression."""
    for subject in range(SUBJECTS * len(CLASSES)):
        folder, code = list(CLASSES.values())[subject % 2]
        for frame in range(FRAMES):
            path = root / folder / f"S{subject:03d}_001_{frame:08d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face(10 * subject + frame, code))


def write_fer2013(root: Path) -> None:
    """Write fer2013.csv. Its first test row is CK+'s S001_001_00000000, its first training row S003_001_00000000."""
    lines = ["emotion,pixels,Usage"]
    for usage, count in USAGES.items():
        for i in range(count):
            code = list(CLASSES.values())[(i + 1) % 2][1]
            number = 1000 + len(lines)
            if i == 0 and usage != "PublicTest":
                number = 10 if usage == "PrivateTest" else 30
            lines.append(f"{code},{' '.join(map(str, face(number, code).ravel()))},{usage}")
    root.mkdir(parents=True)
    (root / "fer2013.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the chain has run."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(ROOT / "params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_ckplus(paths.RAW / "ckplus")
        write_fer2013(paths.RAW / "fer2013")
        toy.set_params(folder, **SETTINGS)
        p = params.load()
        for stage in (ingest, align):
            for dataset in p.datasets:
                stage.run(p, dataset)
        for stage in (label, synthesize, train, evaluate):
            stage.run(p)
    return folder


@pytest.fixture(autouse=True)
def _in_the_finished_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)


def metrics(stage: str) -> dict:
    return json.loads((paths.METRICS / f"{stage}.json").read_text())


def labels() -> list[dict]:
    return pq.read_table(paths.LABELS).to_pylist()


def test_the_gan_learns_from_the_training_faces_of_its_own_data_set_alone() -> None:
    # Subject 1 is in fer2013's test split, so the image there may not be learned from.
    learned = [
        row
        for row in labels()
        if row["dataset"] == "ckplus" and row["split"] == "train" and row["id"] != "ckplus/S001_001_00000000"
    ]
    assert len(learned) < sum(row["dataset"] == "ckplus" for row in labels()) - 1
    faces = store.Faces(paths.ALIGNED / "ckplus.arrow")
    rows = {id_: row for row, id_ in enumerate(faces.ids())}
    sha256 = hashlib.sha256("\n".join(row["id"] for row in learned).encode())
    sha256.update(np.array([list(CLASSES).index(row["label"]) for row in learned], np.int64).tobytes())
    for row in learned:
        sha256.update(faces[rows[row["id"]]].tobytes())

    report = metrics("synthesize")
    assert report["made_from"] == sha256.hexdigest()
    assert report["datasets"] == ["ckplus"]
    assert sum(report[name]["trained_on"] for name in CLASSES) == len(learned)


def test_the_image_that_another_data_set_tests_on_is_a_training_image_here() -> None:
    # What makes the test above one about leaks between data sets.
    [row] = [row for row in labels() if row["id"] == "ckplus/S001_001_00000000"]
    others = [other for other in labels() if other["cluster"] == row["cluster"] and other != row]
    assert row["split"] == "train"
    assert [(other["dataset"], other["split"]) for other in others] == [("fer2013", "test")]


def test_the_classifier_learns_from_the_other_data_set_and_the_generated_faces() -> None:
    samples = {"real": 30, "synthetic": 12, "datasets": {"fer2013": 30}}
    assert metrics("train")["samples"] == samples
    model = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
    assert (model.datasets, model.gan_datasets) == (["fer2013"], ["ckplus"])
    # Only valid of fer2013 chooses the epoch.
    assert metrics("train")["valid"]["accuracy"] == metrics("evaluate")["valid"]["accuracy"]


def test_both_data_sets_are_scored_and_no_split_mixes_what_was_learned_with_what_was_not() -> None:
    published = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
    expected = {(published[usage], "fer2013"): count for usage, count in USAGES.items()}
    of_ckplus = [row["split"] for row in labels() if row["dataset"] == "ckplus"]
    for split, scored in {"train": "gan_train", "valid": "unlearned", "test": "test"}.items():
        expected[scored, "ckplus"] = of_ckplus.count(split)

    report, predictions = metrics("evaluate"), pq.read_table(paths.PREDICTIONS).to_pylist()
    scored = {
        (split, name): part["images"]
        for split in ("train", "gan_train", "valid", "unlearned", "test")
        for name, part in report[split]["datasets"].items()
    }
    assert scored == expected
    for (split, name), count in expected.items():
        right = [
            row["label"] == row["predicted"]
            for row in predictions
            if (row["split"], row["dataset"]) == (split, name)
        ]
        assert len(right) == count
        assert report[split]["datasets"][name]["accuracy"] == np.mean(right)


def test_only_what_the_classifier_learned_from_makes_an_image_a_repeat() -> None:
    report = metrics("evaluate")
    # CK+'s training image that fer2013 also trains on; its test image in CK+'s training split was not learned from.
    assert report["gan_train"]["deduplicated"]["images"] == report["gan_train"]["images"] - 1
    assert report["test"]["deduplicated"]["images"] == report["test"]["images"]


def test_the_model_card_tells_what_was_learned_from_and_what_was_scored() -> None:
    written = [paths.METRICS / f"{stage}.json" for stage in ("label", "synthesize", "train", "evaluate")]
    outs = {str(path): md5_of(path) for path in written}
    run = Lineage({"train": Stage({}, outs, params.load().model_dump())})
    model = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
    about = metadata(model, "", run)
    text = card.write(about, run, {"x.onnx": b""}, [Parity("test", 1, 0.0, None, None)], "")

    assert "It learned from the data sets fer2013, ckplus." in text.split("## ")[0]
    rows = dict(re.findall(r"^\| (ckplus|fer2013) \| (\w+) \|", text, re.M))
    assert rows == {"ckplus": "GAN", "fer2013": "classifier"}
    assert "| happiness | 15 | 4 | 5 |" in text  # fer2013 alone: what the classifier learned from
    scores = metrics("evaluate")["test"]["datasets"]["ckplus"]
    assert f"| test, ckplus | {scores['images']} | {scores['accuracy']:.4f} [" in text
    head = next(YAML(typ="safe").load_all(text.split("\n---\n")[0]))
    assert head["datasets"] == ["fer2013", "ckplus"]
    tested = {
        result["dataset"]["split"]: result["dataset"]["name"] for result in head["model-index"][0]["results"]
    }
    assert tested["valid"] == "fer2013"
    assert tested["test"] == "ckplus, fer2013"


def test_the_report_shows_every_split_and_data_set() -> None:
    run = FinishedRun(Workspace())
    shown = {row[0]: row[1].value for row in split_scores(run).rows}
    report = metrics("evaluate")
    assert shown["unlearned"] == report["unlearned"]["images"]
    assert shown["gan_train, ckplus"] == report["gan_train"]["images"]
    assert shown["test, fer2013"] == 10
    assert predictions(run)[1] == ""
    assert (
        '<p class="learned">The model learned from the data sets fer2013, ckplus.</p>' in render([run]).html
    )
    assert (run.parameters["gans.datasets"], run.parameters["train.datasets"]) == (["ckplus"], ["fer2013"])
