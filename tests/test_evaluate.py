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
from pipeline.evaluation.intervals import intervals, wilson
from pipeline.inference import model_file
from pipeline.inference.crops import centre_crop
from pipeline.inference.samples import LabelledFaces, scaled
from pipeline.params.load import load
from pipeline.params.model import Params
from pipeline.stages import evaluate
from pipeline.stages.train import trained_model
from pipeline.tables import paths, schema, store, vocabulary
from tests import toy

SIZE = 20
NAMES = ["neutral", "fear"]


@pytest.fixture(scope="module")
def settings() -> Params:
    p = load(Path(__file__).parents[1] / "params.yaml")
    return p.model_copy(
        update={
            "classes": NAMES,
            "model": "resnet18",
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
                # Images 0 to 7 of each data set are four pairs, three of which lie in two splits.
                "cluster": f"{dataset}/{i // 2 * 2:02}" if i < 8 else None,
            }
            for i, id_ in enumerate(ids)
        ]
    store.write_rows(folder / paths.LABELS, schema.labels(NAMES), sorted(labels, key=lambda row: row["id"]))
    toy.write_label_metrics(folder, {"table": 20, "sample": 10})
    torch.manual_seed(0)
    network = toy.network(settings)
    torch.nn.init.normal_(network.head.weight)  # both classes are predicted
    model_file.save(folder / paths.CLASSIFIER, trained_model(settings, network))
    return folder


@pytest.fixture
def drawing(settings: Params, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Return the parameters of a run whose inputs lie in the working folder."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return settings


@pytest.fixture
def p(drawing: Params, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Return the parameters of such a run without plots, which take most of its time."""
    monkeypatch.setattr(evaluate, "_draw", lambda *_: None)
    return drawing


def outputs() -> dict[str, bytes]:
    plots = [path for path in (paths.PLOTS / "evaluate").rglob("*") if path.is_file()]
    files = [paths.METRICS / "evaluate.json", paths.PREDICTIONS, *sorted(plots)]
    return {path.as_posix(): path.read_bytes() for path in files}


def test_the_scores_follow_from_the_predictions(p: Params, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(p)

    report = json.loads((paths.METRICS / "evaluate.json").read_text())
    assert [name for name in report if name in vocabulary.SPLITS] == ["train", "test"]
    predictions = pq.read_table(paths.PREDICTIONS)
    assert predictions.schema.equals(schema.predictions(NAMES))
    assert predictions.schema.metadata == {b"classes": b"neutral,fear"}
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


def test_the_map_is_the_plane_on_which_features_of_train_spread_most(p: Params) -> None:
    evaluate.run(p)
    rows = pq.read_table(paths.PREDICTIONS).to_pylist()
    faces = LabelledFaces(p.classes, p.datasets, p.align).everything()
    network = model_file.load(paths.CLASSIFIER, torch.device("cpu")).network
    side = p.train.crop
    batch = scaled(faces.take(torch.arange(len(faces))))
    with torch.no_grad():
        features = network(centre_crop(batch, side)[0])[1].double().numpy()
    by_id = dict(zip(faces.ids.to_pylist(), features, strict=True))
    train = np.array([by_id[row["id"]] for row in rows if row["split"] == "train"])
    axes = np.linalg.svd(train - train.mean(axis=0))[2][:2]
    expected = (np.array([by_id[row["id"]] for row in rows]) - train.mean(axis=0)) @ axes.T
    # Either end of an axis may be its right or upper one.
    for axis, column in zip("xy", expected.T, strict=True):
        written = np.array([row[axis] for row in rows])
        assert np.allclose(written, column, atol=1e-3) or np.allclose(written, -column, atol=1e-3)


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
        low, high = wilson(sum(a == b for a, b in zip(truth, said, strict=True)), len(chosen))
        return {
            "images": len(chosen),
            "classes": len(set(truth)),
            "interval": {"accuracy": {"low": low, "high": high}},
            **{k: pytest.approx(v) for k, v in zip(keys, scores, strict=True)},
        }

    test = [row for row in rows if row["split"] == "test"]
    # 0, 3, 6 of each data set are test images; the partners of all three (1, 2, 7) are in train.
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
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.strip().startswith("without repeats  ") for line in lines) == 1
    assert (
        "without repeats: only the images that train and valid above it do not hold, exactly or nearly"
        in lines
    )


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
        "classes": 0,
        "interval": {},
    }


def test_the_same_input_gives_the_same_bytes(drawing: Params) -> None:
    evaluate.run(drawing)
    once = outputs()
    stale = paths.PLOTS / "evaluate/valid/confusion.csv"  # of a split that the run no longer has
    stale.parent.mkdir()
    stale.touch()
    evaluate.run(drawing)

    assert outputs() == once
    plots = ("confusion.csv", "confusion.png", "mistakes.png", "reliability.png")
    assert sorted(once) == [
        "data/predictions.parquet",
        "metrics/evaluate.json",
        *(f"plots/evaluate/{split}/{name}" for split in ("test", "train") for name in plots),
    ]
    for split in ("test", "train"):
        rows = [row.split(",") for row in once[f"plots/evaluate/{split}/confusion.csv"].decode().split()[1:]]
        known = pq.read_table(paths.PREDICTIONS, filters=[("split", "=", split)]).to_pylist()
        assert sorted(rows) == sorted([split, row["label"], row["predicted"]] for row in known)


def evaluated(p: Params, **settings: Any) -> dict[str, Any]:
    """Run the stage with other settings and return its report."""
    evaluate.run(p.model_copy(update={"evaluate": p.evaluate.model_copy(update=settings)}))
    return json.loads((paths.METRICS / "evaluate.json").read_text())


def test_intervals_follow_from_the_predictions_and_the_seed(
    p: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"split": "test"} for row in pq.read_table(paths.LABELS).to_pylist()]
    store.write_rows(paths.LABELS, schema.labels(NAMES), rows)
    report = evaluated(p, bootstrap=200)
    rows = pq.read_table(paths.PREDICTIONS).to_pylist()
    labels, predicted = (np.array([NAMES.index(row[key]) for row in rows]) for key in ("label", "predicted"))

    assert report["test"]["interval"].keys() == {"accuracy", "macro_recall", "macro_f1"}
    assert report["test"]["interval"] == intervals(labels, predicted, 2, 200, p.seed)
    bounds = report["test"]["interval"]["accuracy"]
    assert f"{bounds['low']:.4f} - {bounds['high']:.4f}" in capsys.readouterr().out
    other = evaluated(p.model_copy(update={"seed": p.seed + 1}), bootstrap=200)
    assert other["test"].pop("interval") == intervals(labels, predicted, 2, 200, p.seed + 1)
    assert other["test"] == {key: value for key, value in report["test"].items() if key != "interval"}
    assert evaluated(p, bootstrap=0)["test"]["interval"] == {"accuracy": bounds}


@pytest.mark.parametrize("label", NAMES)
def test_one_image_is_scored_and_its_worth_is_said(
    drawing: Params, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    [row, *_] = pq.read_table(paths.LABELS).to_pylist()
    store.write_rows(paths.LABELS, schema.labels(NAMES), [row | {"split": "train", "label": label}])
    p = drawing.model_copy(update={"datasets": ["sample"]})

    scores = evaluated(p, ten_crop=True, bootstrap=0)["train"]

    low, high = wilson(int(scores["accuracy"]), 1)
    assert scores["interval"] == {"accuracy": {"low": low, "high": high}}
    said = capsys.readouterr().out
    assert f"{scores['accuracy']:.4f}  {low:.4f} - {high:.4f}" in said
    assert "1 of 2" in said
    for worth in (
        "every score of a split unreliable: train 1.",
        "All scores are on faces that training has seen",
    ):
        assert worth in " ".join(said.split())


def test_a_split_of_one_class_is_scored(p: Params, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"split": "valid", "label": "fear"} for row in pq.read_table(paths.LABELS).to_pylist()]
    store.write_rows(paths.LABELS, schema.labels(NAMES), rows)

    scores = evaluated(p)["valid"]

    assert scores["classes"] == 1
    assert scores["macro_recall"] == scores["accuracy"] == scores["per_class"]["fear"]["recall"]
    assert "Macro recall over 1 of 2 classes on valid, and macro F1 likewise" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"not_read": {"sample": {"a": 1}}}'])
def test_metrics_of_labels_that_do_not_fit_are_one_line(p: Params, content: str) -> None:
    (paths.METRICS / "label.json").write_text(content)
    with pytest.raises(
        UserError, match=r"metrics/label\.json: not the metrics of sample, table; run `dvc repro`"
    ):
        evaluate.run(p)


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
