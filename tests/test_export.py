"""`fer export`: the ONNX file against PyTorch, the int8 file, the model card, and the model as a DVC artifact."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from dvc.cli import main
from gto.cli import app as gto_app
from huggingface_hub import ModelCard
from ruamel.yaml import YAML
from scipy.stats import binomtest
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.export import card, limits, lineage, parity
from pipeline.export import onnx as exporting
from pipeline.export.metadata import metadata
from pipeline.inference import model_file
from pipeline.report.page import render
from pipeline.report.revisions import Workspace
from pipeline.report.run import FinishedRun
from pipeline.stages import evaluate, train
from pipeline.tables import paths, schema, store
from pipeline.tables.vocabulary import CLASSES
from tests import toy

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "model": "light",
    "augment": "none",
    "train.crop": 16,
    "align.face_size": 16,
    "evaluate.bootstrap": 50,
}


def fer(*arguments: str) -> str:
    """Return the output of a command; raise its error."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def dvc(*arguments: str) -> None:
    """Run DVC in this process, which is several times faster than in a new one."""
    assert main(list(arguments)) == 0


def gto(*arguments: str) -> None:
    gto_app(list(arguments), standalone_mode=False)


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)


def record(project: Path) -> None:
    """Write the entries of train and evaluate in dvc.lock."""

    def entries(*files: Path) -> list[dict[str, str]]:
        return [
            {"path": str(file), "md5": hashlib.md5((project / file).read_bytes()).hexdigest()}
            for file in files
        ]

    settings = params.load().model_dump()
    chosen = {key: settings[key] for key in ("datasets", "seed", "model", "train", "align")}
    stages = {
        "train": {
            "deps": entries(paths.LABELS),
            "outs": entries(paths.CLASSIFIER, paths.METRICS / "train.json"),
            "params": {"params.yaml": chosen},
        },
        "evaluate": {
            "deps": entries(paths.CLASSIFIER, paths.LABELS),
            "outs": entries(paths.METRICS / "evaluate.json"),
        },
    }
    YAML().dump({"schema": "2.0", "stages": stages}, project / "dvc.lock")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a classifier that was trained, scored, and exported with --int8."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(ROOT / "params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        toy.write(folder, **SETTINGS)
        train.run(params.load())
        evaluate.run(params.load())
        record(folder)
        (folder / "said.txt").write_text(fer("export", "--int8"))
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a copy of the finished project."""
    shutil.copytree(finished, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def built(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reuse the exported graph, as another export takes seconds."""
    graph = onnx.load("models/classifier.onnx")
    monkeypatch.setattr(
        exporting, "build", lambda classifier, metadata: exporting.with_metadata(graph, metadata)
    )


def test_the_file_alone_turns_stored_faces_into_the_scores_of_the_run(project: Path) -> None:
    session = onnxruntime.InferenceSession("models/classifier.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["fer"])
    faces = store.Faces(paths.ALIGNED / "sample.arrow")
    rows = store.read_parquet(paths.PREDICTIONS, ["id", "predicted", "probabilities"]).to_pylist()
    stored = np.stack([faces[faces.ids().index(row["id"])] for row in rows])
    expected = np.array([row["probabilities"] for row in rows])
    for size in (1, 7, len(rows)):  # any batch size
        [found] = session.run(["probabilities"], {"face": stored[:size]})
        np.testing.assert_allclose(found, expected[:size], atol=1e-4)
    assert [about["classes"][i] for i in found.argmax(1)] == [row["predicted"] for row in rows]
    assert about["align"] == params.load().align.model_dump(exclude={"modes"})
    assert about["provenance"]["model_md5"] == hashlib.md5(paths.CLASSIFIER.read_bytes()).hexdigest()
    assert about["precision"] == "float32"


def test_five_points_on_the_face_are_those_of_the_field(project: Path) -> None:
    from insightface.utils.face_align import arcface_dst

    about = exporting.read_metadata(Path("models/classifier.onnx").read_bytes())
    np.testing.assert_allclose(about["reference"], arcface_dst * 16 / 112, atol=1e-4)


def test_the_file_is_a_valid_model_without_traces_of_this_machine(project: Path) -> None:
    for name in ("classifier.onnx", "classifier.int8.onnx"):
        model = onnx.load(Path("models", name))
        onnx.checker.check_model(model, full_check=True)
        for weights in model.graph.initializer:
            weights.ClearField("raw_data")
        origin = model.metadata_props.pop()
        assert origin.key == "fer"
        text = str(model)
        assert not [trace for trace in ("/", ".py", "File ", "torch", "doc_string") if trace in text]
        assert str(project.parent) not in origin.value


def test_exporting_again_gives_the_same_bytes(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in Path("models").glob("classifier.*")}
    fer("export", "--int8")
    assert {path.name: path.read_bytes() for path in Path("models").glob("classifier.*")} == before


def test_int8_is_small_and_tells_what_it_loses(project: Path) -> None:
    session = onnxruntime.InferenceSession("models/classifier.int8.onnx")
    labels = {
        row["id"]: row
        for row in store.read_parquet(paths.LABELS, ["id", "split", "label"]).to_pylist()
        if row["split"] == "test"
    }
    faces = store.Faces(paths.ALIGNED / "sample.arrow")
    stored = np.stack([faces[i] for i, id_ in enumerate(faces.ids()) if id_ in labels])
    truth = [toy.CLASSES.index(labels[id_]["label"]) for id_ in faces.ids() if id_ in labels]
    accuracy = (session.run(None, {"face": stored})[0].argmax(1) == truth).mean()
    said = Path("said.txt").read_text()
    assert re.search(rf"test, {len(truth)} faces: .* accuracy in int8 {accuracy:.4f}", said)
    assert (
        Path("models/classifier.int8.onnx").stat().st_size < Path("models/classifier.onnx").stat().st_size / 3
    )


def test_ranges_of_int8_come_from_training_faces_alone(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.export import int8

    seen: list[bytes] = []

    def unchanged(model: bytes, batches: Iterator[torch.Tensor]) -> bytes:
        seen.extend(face.numpy().tobytes() for batch in batches for face in batch)
        return model

    monkeypatch.setattr(int8, "quantized", unchanged)
    fer("export", "--int8")
    faces = store.Faces(paths.ALIGNED / "sample.arrow")
    splits = store.read_parquet(paths.LABELS, ["id", "split"]).to_pylist()
    train = [faces.ids().index(row["id"]) for row in splits if row["split"] == "train"]
    assert sorted(seen) == sorted(faces[row].tobytes() for row in train)


def test_the_card_says_what_the_metrics_say(project: Path) -> None:
    text = Path("models/classifier.card.md").read_text()
    card = ModelCard(text)  # Hugging Face's reader of model cards
    metrics = json.loads((paths.METRICS / "evaluate.json").read_text())
    [test] = [
        result
        for result in card.data.eval_results
        if result.dataset_split == "test" and result.metric_type == "accuracy"
    ]
    assert test.metric_value == metrics["test"]["accuracy"]
    assert card.data.datasets == ["sample"]
    above = card.text.split("## ")[0]
    assert "It learned from drawn faces only and is of no use on photographs." in above
    bounds = metrics["test"]["interval"]["accuracy"]
    assert f"{metrics['test']['accuracy']:.4f} [{bounds['low']:.4f}, {bounds['high']:.4f}]" in text
    assert f"| {metrics['test']['ece']:.4f} |" in text
    for name, row in metrics["test"]["per_class"].items():
        assert re.search(rf"^\| {name} \| {row['support']} \| .*{row['recall']:.4f} \[", text, re.M)
    worst = min(toy.CLASSES, key=lambda name: metrics["test"]["per_class"][name]["recall"])
    assert f"On `test`, {worst} has the lowest recall" in text
    assert "No synthetic faces were used." in text
    for name in ("classifier.onnx", "classifier.int8.onnx"):
        assert hashlib.sha256(Path("models", name).read_bytes()).hexdigest() in text
    assert "\n\n\n" not in text
    assert "None" not in re.sub(r"```python\n.*?```", "", text, flags=re.S)


def test_twenty_nine_images_with_one_for_test_are_nowhere_perfect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    classes = list(CLASSES)
    toy.write(tmp_path, **SETTINGS | {"classes": classes, "datasets": ["table"], "evaluate.bootstrap": 1000})
    Path("data/aligned/sample.arrow").rename("data/aligned/table.arrow")
    splits = ["train"] * 24 + ["valid"] * 4 + ["test"]
    labels = [
        {"id": f"toy/{i:03d}", "dataset": "table", "split": split, "label": classes[i % 8 % 5]}
        | {"target": np.eye(8)[i % 8 % 5].tolist()}
        for i, split in enumerate(splits)
    ]
    store.write_rows(paths.LABELS, schema.labels(classes), labels)
    toy.write_label_metrics(tmp_path, {"table": 29}, rejected=35, drawn={"valid": 4, "test": 1})
    p = params.load()
    toy.save_model(p, toy.network(p))
    monkeypatch.setattr(evaluate, "_draw", lambda *_: None)
    monkeypatch.setattr(  # the network is always right
        evaluate,
        "_scored",
        lambda p, model, samples, *_: (
            np.eye(8, dtype=np.float32)[samples.labels.numpy()],
            np.zeros((len(samples), 2)),
        ),
    )

    evaluate.run(p)
    (tmp_path / "metrics/train.json").write_text("{}")
    record(tmp_path)
    classifier = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
    origin = lineage.trace(hashlib.md5(paths.CLASSIFIER.read_bytes()).hexdigest())
    about = metadata(classifier, "", origin)
    texts = {
        "console": capsys.readouterr().out,
        "card": card.write(about, origin, {"a.onnx": b""}, [parity.Parity("test", 1, 0.0, None, None)], ""),
        "report": render([FinishedRun(Workspace())]).html,
    }

    wilsons = [binomtest(n, n).proportion_ci(method="wilson").low for n in range(1, 25)]
    for name, text in texts.items():
        assert "1.0000" in text, name
        flat = " ".join(re.sub("<[^>]*>", " ", text).split())
        for warning in (
            "Ingest rejected 35 of 64 records of table, more than a tenth.",
            "at random from the training images: valid 4, test 1.",
            "Fewer than 30 faces make every score of a split unreliable: train 24, valid 4, test 1.",
            "Macro recall over 1 of 8 classes on test, and macro F1 likewise",
        ):
            assert warning in flat, name
        bounds = re.findall(r"(\d\.\d{3,})(?:,| -| to) (\d\.\d{3,})", flat)
        assert len(bounds) >= 3, name
        for low, high in bounds:  # all are right, so these are Wilson's for any number of faces
            assert min(abs(float(low) - wilson) for wilson in wilsons) < 1e-3, name
            assert float(high) == 1, name
    assert max(map(len, texts["console"].splitlines())) <= 100
    assert "macro recall over 1 of 8 classes, on test" in texts["report"]
    assert "| test | 1 | 1.0000 [0.2065, 1.0000] | 1.0000 | 1.0000 | 1 of 8 |" in texts["card"]


def test_whole_images_are_not_told_as_missed_faces() -> None:
    counts = {"images": 9, "fallback": 9}
    aligned = {"rafdb": counts | {"mode": "none"}, "affectnet": counts | {"mode": "crop"}}
    found = [line for line in limits.limits(["rafdb"], CLASSES, {}, aligned, {}, []) if "No face" in line]
    assert len(found) == 1
    assert "of affectnet" in found[0]


def test_the_mode_of_other_data_sets_does_not_keep_the_runs_faces_from_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    changes = {
        "datasets": ["rafdb", "sample"],
        "train.datasets": ["sample"],
        "align.modes": {"sample": "none"},
    }
    toy.write(tmp_path, **SETTINGS | changes)
    p = params.load()
    parity.check_faces(p, train.trained_model(p, toy.network(p)))


def test_a_card_never_has_the_figures_of_another_run(built: None) -> None:
    metrics = paths.METRICS / "evaluate.json"
    changed = metrics.read_text().replace('"images": 18', '"images": 19')
    metrics.write_text(changed)  # no longer the file that the stage wrote
    fer("export")
    text = Path("models/classifier.card.md").read_text()
    assert "## Scores" not in text
    assert "ties no metrics" in text
    assert "from the metrics of the run" not in text
    # Another model file has no run at all.
    toy.set_params(Path(), **{"labels.rule": "majority"})
    toy.save_model(params.load(), model_file.load(paths.CLASSIFIER, torch.device("cpu")).network)
    assert "dvc.lock does not know this model file" in fer("export")
    assert "## Data and training" not in Path("models/classifier.card.md").read_text()


def test_the_lineage_of_the_recorded_run_is_its_whole_chain(tmp_path: Path) -> None:
    lock = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]
    [md5] = [out["md5"] for out in lock["train"]["outs"] if out["path"] == "models/classifier.safetensors"]
    found = lineage.trace(md5, ROOT / "dvc.lock")
    assert list(found.stages) == list(lock)
    assert set(lock) >= {"ingest@sample", "align@sample", "label", "train", "evaluate"}
    [raw] = [dep["md5"] for dep in lock["ingest@sample"]["deps"] if dep["path"] == "data/raw/sample"]
    assert found.data()["data/raw/sample"] == raw
    # Labels that changed after the training do not lead to this model.
    for out in lock["label"]["outs"]:
        out["md5"] = "0" * 32
    YAML().dump({"stages": lock}, tmp_path / "dvc.lock")
    assert "label" not in lineage.trace(md5, tmp_path / "dvc.lock").stages
    assert lineage.trace("0" * 32, ROOT / "dvc.lock").stages == {}


def test_colour_a_crop_and_a_class_without_share_agree_too(project: Path) -> None:
    toy.set_params(project, **{"align.colour": True, "align.face_size": 21, "train.crop": 18})
    p = params.load()
    network = toy.network(p)
    torch.nn.init.normal_(network.head.weight)
    network.head.bias.data[1] = -torch.inf  # as SVMs give untrained classes
    toy.save_model(p, network)
    classifier = model_file.load(paths.CLASSIFIER, torch.device("cpu"))
    model = exporting.build(classifier, {"versions": {"fer-pipeline": "0"}})
    [found] = parity.check_parity(classifier, model, None, {"random": parity.RandomFaces(classifier)})
    assert found.difference <= 1e-5


def test_a_file_that_differs_is_not_written(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in Path("models").glob("classifier.*")}
    honest = exporting.probabilities
    monkeypatch.setattr(exporting, "probabilities", lambda *given, **named: honest(*given, **named) + 2e-4)
    with pytest.raises(
        UserError, match=r"difference of 0\.0002 .* allowed: at most 0\.0001; nothing was written"
    ):
        fer("export")
    assert {path.name: path.read_bytes() for path in Path("models").glob("classifier.*")} == before


def test_int8_that_loses_too_much_is_not_written(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.export import int8

    def spoilt(model: bytes, train: object) -> bytes:
        loaded = onnx.load_from_string(model)
        last = max(loaded.graph.initializer, key=lambda tensor: tensor.name.endswith("head.bias"))
        last.CopyFrom(onnx.numpy_helper.from_array(np.array([99, 0], np.float32), last.name))
        return loaded.SerializeToString()

    monkeypatch.setattr(int8, "quantized", spoilt)
    before = Path("models/classifier.int8.onnx").read_bytes()
    with pytest.raises(
        UserError, match=r"in int8 and .* on 36 faces of valid and test, allowed: a loss of at most"
    ):
        fer("export", "--int8")
    assert Path("models/classifier.int8.onnx").read_bytes() == before


def test_a_diverged_model_is_not_exported(built: None) -> None:
    network = model_file.load(paths.CLASSIFIER, torch.device("cpu")).network
    torch.nn.init.constant_(network.head.bias, torch.nan)
    toy.save_model(params.load(), network)
    with pytest.raises(UserError, match="found a difference of nan"):
        fer("export")


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        (["--output", "models/a.pt"], {}, "--output: found models/a.pt, allowed: a name that ends in .onnx"),
        (["--output", "a.int8.onnx"], {}, "--output: found a.int8.onnx, allowed: a name that ends in .onnx"),
        (["--output", "none/a.onnx"], {}, "--output: found no folder none, allowed: one that is there"),
        (["--output", "folder.onnx"], {}, "--output: found folder.onnx, which is a folder, allowed: a file"),
        (
            ["--model", "none.safetensors"],
            {},
            "none.safetensors: found no file, expected: a model; `dvc repro` makes",
        ),
        (["--model", "params.yaml"], {}, "params.yaml: not a classifier of this project, "),
        (
            ["--int8"],
            {"classes": ["fear", "anger"]},
            "--int8 needs faces of the training split: params.yaml: classes",
        ),
        (
            ["--int8"],
            {"align.face_size": 32},
            "data/aligned: found faces of 32 pixels, grey, five_point, allowed: 16",
        ),
        (
            ["--int8"],
            {"datasets": ["ferplus"]},
            "params.yaml: datasets: found ferplus, allowed: sample, from which the model learned, among them",
        ),
    ],
)
def test_wrong_input_is_one_line(
    project: Path, arguments: list[str], changes: dict[str, Any], said: str
) -> None:
    Path("folder.onnx").mkdir()
    toy.set_params(project, **({"gan": "none", "train.crop": 16} | changes))
    with pytest.raises(UserError) as error:
        fer("export", *arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_of_other_data_sets_gets_no_accuracy_on_the_projects_faces(built: None) -> None:
    toy.set_params(Path(), datasets=["table"])
    said = fer("export", "--output", "models/other.onnx")
    assert "params.yaml: datasets: found table, allowed: sample" in said
    assert "random, 64 faces: differs" in said
    assert "accuracy" not in said


def test_without_the_runs_faces_random_ones_are_compared(built: None) -> None:
    paths.LABELS.unlink()
    said = fer("export", "--output", "models/other.onnx")
    assert "compared on random faces, as the run's cannot be used: data/labels.parquet: not found" in said
    assert "random, 64 faces: differs" in said
    assert "accuracy" not in said
    assert Path("models/other.card.md").is_file()


def test_the_model_is_had_as_an_artifact_by_version_and_by_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, published = tmp_path / "project", str(tmp_path / "published.git")
    for folder in (project / "models", project / ".dvc"):
        folder.mkdir(parents=True)
    artifacts = YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]
    stages = {"train": {"cmd": "true", "outs": ["models/classifier.safetensors"]}}
    YAML().dump({"stages": stages, "artifacts": artifacts}, project / "dvc.yaml")
    (project / ".dvc/config").write_text("[core]\nanalytics = false\ncheck_update = false\n")
    shutil.copy(ROOT / ".gitignore", project)
    monkeypatch.chdir(project)
    git("init", "-q")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.org")
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    for version, content in (("v1.0.0", b"first"), ("v1.1.0", b"second")):
        paths.CLASSIFIER.write_bytes(content)
        dvc("commit", "--force")
        git("add", "dvc.yaml", "dvc.lock", ".dvc/config", ".gitignore")
        git("commit", "-qm", version)
        gto("register", "classifier", "--version", version)
    gto("assign", "classifier", "--version", "v1.0.0", "--stage", "production")
    dvc("push", "--all-tags")
    git("clone", "-q", "--bare", str(project), published)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(project)

    dvc("artifacts", "get", published, "classifier", "--rev", "v1.1.0")
    assert Path("classifier.safetensors").read_bytes() == b"second"
    dvc("artifacts", "get", published, "classifier", "--stage", "production", "--out", "old.safetensors")
    assert Path("old.safetensors").read_bytes() == b"first"
