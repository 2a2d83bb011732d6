"""The stage `evaluate` on a small run: random weights, thirty noise faces."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score, classification_report, roc_auc_score

from pipeline.core.errors import UserError
from pipeline.evaluation.intervals import intervals
from pipeline.inference import model_file
from pipeline.params.load import load
from pipeline.params.model import Params
from pipeline.stages import evaluate
from pipeline.stages.train import trained_model
from pipeline.tables import paths, schema, store
from tests import toy

SIZE = 20
NAMES = ["neutral", "fear"]


@pytest.fixture(scope="module")
def settings() -> Params:
    p = load(Path(__file__).parents[1] / "params.yaml")
    return p.model_copy(
        update={
            "classes": NAMES,
            "datasets": ["sample", "table"],
            "align": p.align.model_copy(update={"face_size": SIZE, "colour": False}),
            "train": p.train.model_copy(update={"crop": 16, "device": "cpu", "precision": "float32"}),
            "evaluate": p.evaluate.model_copy(update={"mistakes": 8, "ten_crop": False, "mirror": False}),
        }
    )


@pytest.fixture(scope="module")
def inputs(settings: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs of the stage."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    labels = []
    for dataset, count in (("table", 20), ("sample", 10)):
        ids = [f"{dataset}/{i:02}" for i in range(count)]
        faces = [{"id": id_, "status": "whole", "face": rng.bytes(SIZE * SIZE)} for id_ in ids]
        store.write_rows(folder / paths.ALIGNED / f"{dataset}.arrow", schema.aligned(SIZE, 1), faces)
        labels += [
            {
                "id": id_,
                "dataset": dataset,
                "split": "test" if i % 3 == 0 else "train",
                "label": NAMES[i % 2],
                "target": [1.0 - i % 2, float(i % 2)],
                # Pictures 0 to 7 of each data set are four pairs, three of which lie in two splits.
                "cluster": f"{dataset}/{i // 2 * 2:02}" if i < 8 else None,
            }
            for i, id_ in enumerate(ids)
        ]
    store.write_rows(folder / paths.LABELS, schema.labels(NAMES), sorted(labels, key=lambda row: row["id"]))
    torch.manual_seed(0)
    model_file.save(folder / paths.CLASSIFIER, trained_model(settings, toy.network(settings)))
    return folder


@pytest.fixture
def p(settings: Params, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Return the parameters of a run whose inputs lie in the working folder."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return settings


def outputs() -> dict[str, bytes]:
    files = [
        paths.METRICS / "evaluate.json",
        paths.PREDICTIONS,
        *sorted((paths.PLOTS / "evaluate").iterdir()),
    ]
    return {path.name: path.read_bytes() for path in files}


def test_the_scores_follow_from_the_predictions(p: Params, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(p)

    report = json.loads((paths.METRICS / "evaluate.json").read_text())
    assert list(report) == ["rule", "ten_crop", "mirror", "train", "test"]  # there is no valid split
    predictions = pq.read_table(paths.PREDICTIONS)
    assert predictions.schema.equals(schema.PREDICTIONS)
    ids = predictions["id"].to_pylist()
    assert ids == sorted(ids)
    known = {row["id"]: row for row in pq.read_table(paths.LABELS).to_pylist()}
    rows = predictions.to_pylist()
    assert all(row[key] == known[row["id"]][key] for row in rows for key in ("dataset", "split", "label"))
    for split, count in (("train", 19), ("test", 11)):
        of_split = [row for row in rows if row["split"] == split]
        truth, said = ([row[key] for row in of_split] for key in ("label", "predicted"))
        fear = [row["probabilities"][1] for row in of_split]
        assert report[split]["images"] == len(of_split) == count
        assert report[split]["accuracy"] == accuracy_score(truth, said)
        assert report[split]["auc"] == pytest.approx(
            roc_auc_score([t == "fear" for t in truth], fear), abs=1e-6
        )
    assert f"{report['test']['accuracy']:.4f}" in capsys.readouterr().out


def test_repeats_of_an_earlier_split_and_data_sets_are_scored_apart(
    p: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.run(p)
    report = json.loads((paths.METRICS / "evaluate.json").read_text())
    rows = pq.read_table(paths.PREDICTIONS).to_pylist()

    def expected(chosen: list[dict]) -> dict:
        truth, said = ([row[key] for row in chosen] for key in ("label", "predicted"))
        per_class = classification_report(truth, said, output_dict=True, zero_division=0)
        means = [np.mean([per_class[name][key] for name in set(truth)]) for key in ("recall", "f1-score")]
        scores = [accuracy_score(truth, said), *means]
        keys = ("accuracy", "macro_recall", "macro_f1")
        return {"images": len(chosen)} | {k: pytest.approx(v) for k, v in zip(keys, scores, strict=True)}

    test = [row for row in rows if row["split"] == "test"]
    # 0, 3, 6 of each data set are test pictures; the partners of all three (1, 2, 7) are in train.
    once = [row for row in test if int(row["id"][-2:]) > 6]
    assert len(once) == len(test) - 6
    assert report["test"]["deduplicated"] == expected(once)
    assert "deduplicated" not in report["train"]
    assert report["test"]["datasets"] == {
        name: expected([row for row in test if row["dataset"] == name])
        | {"deduplicated": expected([row for row in once if row["dataset"] == name])}
        for name in ("sample", "table")
    }
    assert all("deduplicated" not in part for part in report["train"]["datasets"].values())
    assert "without repeats" in capsys.readouterr().out


def test_training_faces_of_a_data_set_that_was_not_learned_from_are_a_split_of_their_own(p: Params) -> None:
    learned = p.model_copy(update={"train": p.train.model_copy(update={"datasets": ["table"]})})
    toy.save_model(learned, toy.network(p))
    evaluate.run(p)
    report = json.loads((paths.METRICS / "evaluate.json").read_text())
    counts = {
        split: {name: part["images"] for name, part in report[split]["datasets"].items()}
        for split in ("train", "unlearned", "test")
    }
    assert counts == {"train": {"table": 13}, "unlearned": {"sample": 6}, "test": {"sample": 4, "table": 7}}
    # A copy in a training split makes a repeat only if that split was learned from.
    assert report["test"]["datasets"]["sample"]["deduplicated"]["images"] == 4
    assert report["test"]["datasets"]["table"]["deduplicated"]["images"] == 4
    splits = {row["id"]: row["split"] for row in pq.read_table(paths.PREDICTIONS).to_pylist()}
    assert splits["sample/01"] == "unlearned"


def test_one_data_set_is_not_reported_twice_and_repeats_alone_have_no_score(p: Params) -> None:
    rows = [row | {"cluster": "all"} for row in pq.read_table(paths.LABELS).to_pylist()]
    rows = [row for row in rows if row["dataset"] == "sample"]
    store.write_rows(paths.LABELS, schema.labels(NAMES), rows)
    evaluate.run(p.model_copy(update={"datasets": ["sample"]}))
    report = json.loads((paths.METRICS / "evaluate.json").read_text())
    assert "datasets" not in report["test"]
    assert report["test"]["deduplicated"] == {
        "images": 0,
        **dict.fromkeys(("accuracy", "macro_recall", "macro_f1")),
    }


def test_the_same_input_gives_the_same_bytes(p: Params) -> None:
    evaluate.run(p)
    once = outputs()
    evaluate.run(p)

    assert outputs() == once
    assert sorted(once) == [
        "confusion.csv",
        "confusion.png",
        "evaluate.json",
        "mistakes.png",
        "predictions.parquet",
        "reliability.png",
    ]


def evaluated(p: Params, **settings: Any) -> dict[str, Any]:
    """Run the stage with other settings and return its report."""
    evaluate.run(p.model_copy(update={"evaluate": p.evaluate.model_copy(update=settings)}))
    return json.loads((paths.METRICS / "evaluate.json").read_text())


def test_intervals_follow_from_the_predictions_and_the_seed(
    p: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluated(p, bootstrap=200)
    rows = [row for row in pq.read_table(paths.PREDICTIONS).to_pylist() if row["split"] == "test"]
    labels, predicted = (np.array([NAMES.index(row[key]) for row in rows]) for key in ("label", "predicted"))

    assert report["test"]["interval"] == intervals(labels, predicted, 2, 200, p.seed)
    bounds = report["test"]["interval"]["accuracy"]
    assert f"{bounds['low']:.4f} - {bounds['high']:.4f}" in capsys.readouterr().out
    other = evaluated(p.model_copy(update={"seed": p.seed + 1}), bootstrap=200)
    assert other["test"].pop("interval") == intervals(labels, predicted, 2, 200, p.seed + 1)
    assert other["test"] == {key: value for key, value in report["test"].items() if key != "interval"}
    assert "interval" not in evaluated(p, bootstrap=0)["test"]


@pytest.mark.parametrize("views", ["ten_crop", "mirror"])
def test_views_are_averaged(p: Params, views: str) -> None:
    assert evaluated(p)[views] is False
    one = pq.read_table(paths.PREDICTIONS)["probabilities"].to_pylist()
    assert evaluated(p, **{views: True})[views] is True
    several = pq.read_table(paths.PREDICTIONS)["probabilities"].to_pylist()

    assert np.allclose(np.sum(several, axis=1), 1, atol=1e-5)
    assert not np.allclose(one, several)


def test_a_mirrored_set_of_faces_scores_the_same_where_mirror_images_are_averaged(p: Params) -> None:
    evaluated(p, mirror=True)
    once = pq.read_table(paths.PREDICTIONS)["probabilities"].to_pylist()
    for dataset in p.datasets:
        path = paths.ALIGNED / f"{dataset}.arrow"
        faces = store.Faces(path)
        rows = [row | {"face": faces[i][:, ::-1].tobytes()} for i, row in enumerate(faces.table.to_pylist())]
        store.write_rows(path, schema.aligned(SIZE, 1), rows)
    evaluated(p, mirror=True)

    assert np.allclose(once, pq.read_table(paths.PREDICTIONS)["probabilities"].to_pylist(), atol=1e-6)


def test_a_model_of_other_classes_is_refused(p: Params) -> None:
    other = p.model_copy(update={"classes": ["fear", "neutral"]})
    toy.save_model(other, toy.network(other))
    with pytest.raises(
        UserError, match=r"classifier\.safetensors: found classes fear, neutral, allowed: neutral, fear"
    ):
        evaluate.run(p)


def test_labels_in_another_class_order_are_refused(p: Params) -> None:
    other = p.model_copy(update={"classes": ["fear", "neutral"]})
    with pytest.raises(
        UserError, match=r"labels\.parquet: found classes neutral,fear, allowed: fear,neutral"
    ):
        evaluate.run(other)


def test_faces_of_another_size_are_refused(p: Params) -> None:
    for dataset in p.datasets:
        table = store.Faces(paths.ALIGNED / f"{dataset}.arrow").table
        rows = [{**row, "face": bytes(24 * 24)} for row in table.to_pylist()]
        store.write_rows(paths.ALIGNED / f"{dataset}.arrow", schema.aligned(24, 1), rows)

    with pytest.raises(UserError, match="found faces of 24x24x1, allowed: 20x20x1"):
        evaluate.run(p)


def test_a_model_that_diverged_is_named_as_such(p: Params) -> None:
    network = toy.network(p)
    torch.nn.init.constant_(network.head.weight, float("nan"))
    toy.save_model(p, network)

    with pytest.raises(UserError, match=r"training diverged; a lower optimizers\.sgd\.learning_rate"):
        evaluate.run(p)


def test_missing_labels_are_one_line(p: Params) -> None:
    paths.LABELS.unlink()

    with pytest.raises(UserError, match=r"data/labels\.parquet: not found; `dvc repro` makes it"):
        evaluate.run(p)
