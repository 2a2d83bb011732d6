"""`fer share`: repositories of the Hugging Face Hub, read back by other programs, and their upload."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, ModelCard
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.export import onnx as exporting
from pipeline.sharing import faces
from pipeline.stages import evaluate, ingest
from pipeline.tables import paths, schema, store
from tests import hub_server, toy

ROOT = Path(__file__).parents[1]
COUNTS = {"train": 54, "validation": 18, "test": 18}


def fer(*arguments: str) -> str:
    """Return the output of a command as one line; raise its error."""
    done = CliRunner().invoke(app, ["share", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


@pytest.fixture
def run(project: Path) -> Path:
    """A project with labelled faces in colour, whose tables have votes and people."""
    toy.write(project, model="light", **{"evaluate.bootstrap": 50, "align.colour": True})
    p = params.load()
    toy.save_model(p, toy.network(p))
    store.write_rows(paths.INGESTED / "sample.parquet", schema.ingested(), map(record, range(90)))
    return project


def record(number: int) -> dict[str, Any]:
    """Return a row of the ingested table: some have no votes, and some no person."""
    votes = dict.fromkeys(schema.VOTES, 0) | {toy.CLASSES[number % 2]: 8, "fear": 2}
    row = {"id": f"toy/{number:03d}", "dataset": "sample", "image": b"x", "width": 1, "height": 1}
    person = f"p{number // 10}" if number % 7 else None
    return row | {"source": "s", "pixels": "x", "group": person, "votes": votes if number % 9 else None}


def lock(**stages: tuple[list[Path], dict[str, Any]]) -> None:
    """Write a dvc.lock with the outputs and the parameters of stages."""
    entries = {
        name: {
            "outs": [{"path": str(path), "md5": hashlib.md5(path.read_bytes()).hexdigest()} for path in outs],
            "deps": [],
            "params": {"params.yaml": used},
        }
        for name, (outs, used) in stages.items()
    }
    entries["label"]["deps"] = entries.get("align@sample", {}).get("outs", [])
    YAML().dump({"schema": "2.0", "stages": entries}, Path("dvc.lock"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    with hub_server.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield server


def started(*arguments: str) -> tuple[str, str]:
    """Return what `fer share` prints, and its last line of errors, in a process of its own.

    The Hub's library reads its settings once, when it is imported.
    """
    command = [sys.executable, "-m", "pipeline", "share", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return " ".join(done.stdout.split()), (done.stderr.strip().splitlines() or [""])[-1]


def test_the_hubs_library_reads_what_the_tables_hold(run: Path, tmp_path: Path) -> None:
    import datasets

    fer("dataset", "sample")
    read = datasets.load_dataset("share/sample", cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in read.items()} == COUNTS
    aligned = store.Faces(paths.ALIGNED / "sample.arrow")
    numbers = aligned.ids()
    labels = {
        row["id"]: row for row in store.read_parquet(paths.LABELS, ["id", "split", "label"]).to_pylist()
    }
    for name, rows in read.items():
        assert rows.features["label"].names == toy.CLASSES
        for row in rows:
            number = numbers.index(row["id"])
            np.testing.assert_array_equal(np.asarray(row["image"]), aligned[number])
            label = labels.pop(row["id"])
            assert (toy.CLASSES[row["label"]], name) == (label["label"], faces.HUB_SPLITS[label["split"]])
            assert {"votes": row["votes"], "group": row["group"]}.items() <= record(number).items()
    assert not labels


def test_croissant_is_valid_and_reads_the_same(run: Path) -> None:
    fer("dataset", "sample")
    import mlcroissant  # takes seconds, which each of the suite's processes would spend

    found = mlcroissant.Dataset(jsonld="share/sample/croissant.json")
    assert not found.metadata.issues.errors
    rows = {name: list(found.records(name)) for name in COUNTS}
    assert {name: len(some) for name, some in rows.items()} == COUNTS
    table = pq.read_table("share/sample/data/test.parquet").to_pylist()
    for row, own in zip(rows["test"], table, strict=True):
        np.testing.assert_array_equal(
            np.asarray(row["test/image"]), np.asarray(Image.open(io.BytesIO(own["image"]["bytes"])))
        )
        assert (row["test/id"].decode(), row["test/label"]) == (own["id"], own["label"])
        votes = {name.rpartition("/")[2]: count for name, count in row["test/votes"].items()}
        assert own["votes"] is None or votes == own["votes"]
    files = json.loads(Path("share/sample/croissant.json").read_text())["distribution"]
    hashes = {file["contentUrl"]: file["sha256"] for file in files}
    assert hashes == {
        f"data/{name}.parquet": hashlib.sha256(
            Path(f"share/sample/data/{name}.parquet").read_bytes()
        ).hexdigest()
        for name in COUNTS
    }


def test_ingest_reads_it_and_sharing_it_again_gives_the_same_bytes(run: Path) -> None:
    fer("dataset", "sample")
    before = {path: path.read_bytes() for path in Path("share").rglob("*") if path.is_file()}
    fer("dataset", "sample")
    assert {path: path.read_bytes() for path in Path("share").rglob("*") if path.is_file()} == before
    shutil.copytree("share/sample", "data/raw/huggingface")
    ingest.run(toy.PARAMS, "huggingface")
    rows = pq.read_table("data/ingested/huggingface.parquet").to_pylist()
    splits = dict(zip(faces.HUB_SPLITS.values(), faces.HUB_SPLITS, strict=True))
    expected = [
        (splits[name], toy.CLASSES[row["label"]], row["group"], row["image"]["bytes"])
        for name in sorted(COUNTS)
        for row in pq.read_table(f"share/sample/data/{name}.parquet").to_pylist()
    ]
    assert [(row["split"], row["label"], row["group"], row["image"]) for row in rows] == expected


def test_grey_faces_and_a_data_set_without_votes_and_people(run: Path) -> None:
    toy.write(run, model="light", **{"align.colour": False})
    rows = [record(number) | {"votes": None, "group": None} for number in range(90)]
    store.write_rows(paths.INGESTED / "sample.parquet", schema.ingested(), rows)
    fer("dataset", "sample")
    table = pq.read_table("share/sample/data/test.parquet")
    assert table.column_names == ["image", "label", "id"]
    row = table.to_pylist()[0]
    aligned = store.Faces(paths.ALIGNED / "sample.arrow")
    decoded = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, aligned[aligned.ids().index(row["id"])][..., 0])
    store.write_rows(paths.INGESTED / "sample.parquet", schema.ingested(), rows[1:])
    with pytest.raises(
        UserError, match=r"data/labels.parquet: 'toy/000' is not in data/ingested/sample.parquet: run"
    ):
        fer("dataset", "sample")


def test_the_card_of_a_data_set_says_what_the_run_says(run: Path) -> None:
    said = fer("dataset", "sample")
    assert "share: terms of sample: generated by this project, MIT" in said
    assert "hf upload OWNER/NAME share/sample --repo-type dataset" in said
    assert "dvc.lock does not know these labels" in said
    assert "**It is not recorded how they were made**" in Path("share/sample/README.md").read_text()

    aligned, label = paths.METRICS / "align/sample.json", paths.METRICS / "label.json"
    aligned.parent.mkdir()
    aligned.write_text(json.dumps({"images": 90, "found_rate": 0.9, "fallback": 9, "mode": "crop"}))
    leaks = {"near_duplicates": {"test_in_train": 3, "valid_in_train": 0}, "groups": {}}
    near = {
        "leaks": leaks,
        "near_duplicates": {"test_in_train": 5},
        "dropped": {"unknown": 4},
        "drawn": {"test": 18},
    }
    label.write_text(json.dumps(near))
    settings = params.load().model_dump()
    lock(
        **{"align@sample": ([aligned], {"align": settings["align"]})},
        label=([paths.LABELS, label], {"labels": settings["labels"], "datasets": ["sample"]}),
    )
    fer("dataset", "sample")
    text = Path("share/sample/README.md").read_text()
    card = DatasetCard(text)
    assert card.data.license == "mit"
    assert card.data.task_categories == ["image-classification"]
    assert card.data.dataset_info["splits"][0]["num_examples"] == 54
    for line in (
        "**Terms of the source**: generated by this project, MIT.",
        "| all | 54 | 18 | 18 |",
        "- 90 images of sample. A face was found in 0.9000 of them.",
        "- No face was found in 9 of 90 images of sample.",
        "- 3 images of `test` also occur in `train`, identically or nearly so.",
        "- Left out: 4 (`unknown`).",
        "drawn at random: test 18.",
        'detector: "scrfd"',
        'rule: "plurality"',
        "The faces are drawn.",
    ):
        assert line in text
    assert "\n\n\n" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("dataset ckplus jane/faces", "ckplus: research only, by a signed agreement; add --permitted if you may pass"),
        ("dataset folder jane/faces", "folder: your own images; add --permitted if you may pass its images on"),
        ("dataset new jane/faces", "new: those of its publisher; add --permitted if you may pass its images on"),
        ("dataset sample jane", "OWNER/NAME: found jane, allowed: a user or organisation and a name, such as jane/"),
        ("model ../faces", "OWNER/NAME: found ../faces, allowed: a user or organisation and a name, such as jane/"),
        ("model --licence MIT!", "--licence: found MIT!, allowed: an identifier of the Hub, such as mit, cc-by-4.0 or"),
        ("dataset ferplus", "fer share dataset: found ferplus, allowed: sample"),
        ("model --model none", "none: found no file, expected: a model"),
    ],
)  # fmt: skip
def test_what_may_not_or_cannot_be_shared_is_one_line(
    project: Path, hub: hub_server.Hub, arguments: str, line: str
) -> None:
    with pytest.raises(UserError) as error:
        fer(*arguments.split())
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("share").exists()
    assert hub.requests == []


def test_a_data_set_with_terms_is_uploaded_by_who_may_and_an_older_one_is_replaced(
    run: Path, hub: hub_server.Hub
) -> None:
    toy.set_params(run, datasets=["rafdb"])
    for name in ("aligned/sample.arrow", "ingested/sample.parquet"):
        Path("data", name).rename(Path("data", name.replace("sample", "rafdb")))
    rows = [row | {"dataset": "rafdb"} for row in pq.read_table(paths.LABELS).to_pylist()]
    store.write_rows(paths.LABELS, schema.labels(toy.CLASSES), rows)
    name = "datasets/jane/faces"
    said, errors = started("dataset", "rafdb", "jane/faces", "--permitted")
    assert "share: terms of rafdb: non-commercial research only, given on request" in said, errors
    [commit] = hub.repositories[name].commits
    assert f"share: uploaded to {hub.address}/{name}/commit/{commit}" in said, errors
    assert hub.repositories[name].created["visibility"] == "private"
    local = {
        str(path.relative_to("share/rafdb")): path.read_bytes()
        for path in Path("share/rafdb").rglob("*")
        if path.is_file()
    }
    assert hub.files(name) == local
    head = DatasetCard(local["README.md"].decode()).data
    assert head.license == "other"
    croissant = json.loads(local["croissant.json"])
    assert croissant["license"] == "non-commercial research only, given on request"
    assert croissant["url"].endswith("/datasets/jane/faces")

    store.write_rows(
        paths.LABELS, schema.labels(toy.CLASSES), [row for row in rows if row["split"] != "test"]
    )
    started("dataset", "rafdb", "jane/faces", "--permitted")
    assert {file for file in hub.files(name) if file.startswith("data/")} == {
        "data/train.parquet",
        "data/validation.parquet",
    }


def test_a_model_is_uploaded_and_comes_back_with_its_card(run: Path, hub: hub_server.Hub) -> None:
    evaluate.run(params.load())
    metrics = paths.METRICS / "evaluate.json"
    settings = params.load().model_dump()
    lock(
        label=([paths.LABELS], {}),
        train=(
            [paths.CLASSIFIER, metrics],
            {key: settings[key] for key in ("datasets", "seed", "model", "train")},
        ),
    )
    said, errors = started("model", "jane/faces", "--licence", "mit", "--public")
    assert "the model learned from sample: generated by this project, MIT" in said, errors
    assert hub.repositories["jane/faces"].created["visibility"] == "public"
    files = hub.files("jane/faces")
    assert set(files) == {"README.md", "model.onnx", "model.safetensors"}
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("mit", "fer-pipeline")
    assert card.data.pipeline_tag == "image-classification"
    [test] = [
        result
        for result in card.data.eval_results
        if result.dataset_split == "test" and result.metric_type == "accuracy"
    ]
    assert test.metric_value == json.loads(metrics.read_text())["test"]["accuracy"]
    for name in ("model.onnx", "model.safetensors"):
        assert hashlib.sha256(files[name]).hexdigest() in card.text
    [command] = re.findall(r"^fer predict IMAGES --model (.*)$", card.text, re.M)
    code = "import sys; from pipeline.download.models import located; print(located(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
    assert Path(done.stdout.strip()).read_bytes() == paths.CLASSIFIER.read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("HF_TOKEN", "hf_wrong", "it answers 401: `hf auth login` with a token that may write to jane/faces"),
        ("HF_ENDPOINT", "http://127.0.0.1:1", "jane/faces was not uploaded: [Errno 111] Connection refused"),
        ("HF_ENDPOINT", "http://192.0.2.1", "http://192.0.2.1: found http://, allowed: https://, or http:// on this"),
    ],
)  # fmt: skip
def test_an_upload_that_fails_is_one_line(
    tmp_path: Path, hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, line: str
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setenv(variable, value)
    # What the command does last. Without torch, it starts at once.
    code = "import sys; from pipeline.sharing.hub import upload; upload(sys.argv[1], 'jane/faces', 'model', False)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    error = done.stderr.strip().splitlines()[-1]
    assert line in error
    assert error.startswith("pipeline.core.errors.UserError: ")
    assert hub.repositories == {}


def test_a_model_that_has_no_onnx_form_is_shared_without(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> bytes:
        raise UserError("light: cannot be exported to ONNX: too large")

    monkeypatch.setattr(exporting, "build", refused)
    said = fer("model")
    assert "share: without an ONNX file: light: cannot be exported to ONNX: too large" in said
    assert "hf upload OWNER/NAME share/model" in said
    assert {path.name for path in Path("share/model").iterdir()} == {"README.md", "model.safetensors"}
    text = Path("share/model/README.md").read_text()
    assert "**No scores**" in text
    assert "onnxruntime.InferenceSession" not in text
    assert "## Comparison with PyTorch" not in text
    assert ModelCard(text).data.license == "other"
