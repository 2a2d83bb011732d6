"""FER2013 in its published forms: labels by name, splits by `Usage`, bad rows listed."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import fer2013
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from tests import toy

# The data set's own documentation: 0=Angry, 1=Disgust, 2=Fear, 3=Happy, 4=Sad, 5=Surprise, 6=Neutral.
CODES = {"anger": 0, "disgust": 1, "fear": 2, "happiness": 3, "sadness": 4, "surprise": 5, "neutral": 6}
FOLDERS = {"angry": "anger", "happy": "happiness", "sad": "sadness", "disgust": "disgust"}


def face(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


def pixels(seed: int) -> str:
    return " ".join(map(str, face(seed).ravel()))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("data/raw/fer2013")
    folder.mkdir(parents=True)
    return folder


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "fer2013")
    table = pq.read_table("data/ingested/fer2013.parquet")
    return {row["id"].removeprefix("fer2013/"): row for row in table.to_pylist()}


def rejected() -> list[tuple[str, str, str]]:
    with open("data/ingested/fer2013.rejected.csv", newline="") as file:
        return [
            (row["file"], row["row"], row["reason"])
            for row in csv.DictReader(file)
            if row["reason"] != "not_read"
        ]


def drawn() -> bytes | None:
    return (pq.read_schema("data/ingested/fer2013.parquet").metadata or {}).get(b"draw")


@pytest.mark.parametrize(
    ("file", "header"),
    [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")],
)
def test_the_csv_forms_map_codes_by_name_and_usage_to_splits(root, file, header):
    usages = ("Training", "PublicTest", "PrivateTest")
    lines = [header]
    for index, code in enumerate(CODES.values()):
        cells = {"emotion": str(code), "Usage": usages[index % 3], "pixels": pixels(index)}
        lines.append(",".join(cells[name.strip()] for name in header.split(",")))
    (root / file).write_text("\n".join(lines) + "\n")
    rows = ingested()
    assert [row["label"] for row in rows.values()] == list(CODES)
    assert [row["split"] for row in rows.values()] == ["train", "valid", "test"] * 2 + ["train"]
    assert list(rows) == [f"{index:05d}" for index in range(7)]
    for index, row in enumerate(rows.values()):
        decoded = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(decoded, face(index))
        assert row["source"] == f"{file}, row {index + 2}"
    assert drawn() is None


def test_train_csv_has_no_splits_and_test_csv_no_labels(root):
    (root / "train.csv").write_text(f"emotion,pixels\n3,{pixels(1)}\n4,{pixels(2)}\n")
    (root / "test.csv").write_text(f"pixels\n{pixels(3)}\n{pixels(4)}\n")
    rows = ingested()
    assert [(row["label"], row["split"]) for row in rows.values()] == [("happiness", None), ("sadness", None)]
    assert drawn() == b"valid,test"
    assert rejected() == [("test.csv", "2", "no_label"), ("test.csv", "3", "no_label")]


def test_folders_say_the_class_and_file_names_the_split(root):
    names = {
        "train/angry/Training_1.jpg": ("anger", "train"),
        "train/happy/Training_2.jpg": ("happiness", "train"),
        "test/sad/PublicTest_3.jpg": ("sadness", "valid"),
        "test/disgust/PrivateTest_4.jpg": ("disgust", "test"),
    }
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), face(seed))
    for name, split in (("publictest/angry/5.png", "valid"), ("privatetest/sad/6.png", "test")):
        names[name] = ("anger" if "angry" in name else "sadness", split)
        (root / name).parent.mkdir(parents=True)
        cv2.imwrite(str(root / name), face(int(name[-5])))
    (root / "train/puzzled").mkdir()
    cv2.imwrite(str(root / "train/puzzled/Training_9.jpg"), face(9))
    rows = ingested()
    assert {name: (row["label"], row["split"]) for name, row in rows.items()} == names
    assert rejected() == [("train/puzzled/Training_9.jpg", "0", "unknown_label")]
    assert drawn() is None


def test_images_of_one_colour_are_kept_because_the_published_counts_include_them(root):
    black = " ".join(["0"] * 2304)
    (root / "fer2013.csv").write_text(
        f"emotion,pixels,Usage\n3,{black},Training\n4,{pixels(2)},Training\n0,{black},PublicTest\n"
    )
    assert len(ingested()) == 3
    metrics = json.loads(Path("metrics/ingest/fer2013.json").read_text())
    assert (metrics["kept"], metrics["rejected"]) == (3, {})
    assert metrics["notes"] == {"kept_without_contrast": 2}


def test_folders_without_usage_in_their_names_have_valid_drawn(root):
    for seed, name in enumerate(("train/angry/1.png", "train/sad/2.png", "test/sad/3.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), face(seed))
    assert {row["split"] for row in ingested().values()} == {"train", "test"}
    assert drawn() == b"valid"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "data/raw/fer2013: found nothing; expected: fer2013.csv, icml_face_data.csv, train.csv"),
        ({"labels.csv": "x"}, "found labels.csv; expected: fer2013.csv"),
        ({"fer2013.csv": "a,b\n1,2\n"}, "fer2013.csv: found the columns a, b, expected: emotion, pixels"),
        ({"fer2013.csv": ""}, "fer2013.csv: found the columns an empty file, expected"),
        ({"fer2013.csv": "emotion,pixels,Usage\n"}, "found no usable record: there is no row"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(root, files, message):
    for name, content in files.items():
        (root / name).write_text(content)
    with pytest.raises(UserError) as error:
        ingest.run(toy.PARAMS, "fer2013")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


ROW = st.lists(st.sampled_from(["3", "9", "", "1 2", "Training", '"', "é", "\0"]), max_size=5).map(",".join)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(ROW, max_size=5).map("\n".join) | st.text(max_size=40))
def test_no_file_breaks_the_reader(tmp_path, content):
    (tmp_path / "fer2013.csv").write_bytes(
        b"emotion,pixels,Usage\n" + content.encode("utf-8", "surrogatepass")
    )
    listing = fer2013.records(open_tree(tmp_path), Options())
    count = len(toy.listed(listing)) + len(listing.rejected)
    lines = content.encode("utf-8", "surrogatepass").split(b"\n")
    assert count == sum(bool(line.strip()) for line in lines)
