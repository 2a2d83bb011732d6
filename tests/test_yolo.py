"""Images with boxes in YOLO's form: a record for each face, and a line for whatever is wrong."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import listed, yolo
from pipeline.intake.names import UnknownNames
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from pipeline.tables.schema import DRAW
from tests import toy

DATA = "train: ../train/images\nval: ../valid/images\n\nnc: 3\nnames: ['Angry', 'happy', 'cat']\n"
WIDTH, HEIGHT = 200, 100
FACE = "1 0.5 0.5 0.25 0.5"


def lay(root: Path, name: str, *lines: str, label: str | None = None) -> None:
    """Write an image and its label file."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(root / name), pixels)
    if lines or label:
        file = root / (label or re.sub(r"(.*)images(.*)\.\w+$", r"\1labels\2.txt", name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def raw(project) -> Path:
    folder = project / "data/raw/yolo"
    folder.mkdir(parents=True)
    (folder / "data.yaml").write_text(DATA)
    return folder


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "yolo")
    rows = pq.read_table("data/ingested/yolo.parquet").to_pylist()
    return {row["id"].removeprefix("yolo/"): row for row in rows}


def rejected() -> list[tuple[str, int, str]]:
    with open("data/ingested/yolo.rejected.csv", newline="") as file:
        return [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("form", ["{}/images/{}", "images/{}/{}"])
def test_boxes_are_in_pixels_and_classes_have_their_names(raw, form):
    lay(raw, form.format("train", "a.jpg"), FACE)
    lay(raw, form.format("valid", "sub/b.png"), "0 0.25 0.5 0.5 1.0", "", "1 0.75 0.5 0.5 0.5")
    (raw / "README.roboflow.txt").touch()
    rows = ingested()
    a, b = form.format("train", "a.jpg"), form.format("valid", "sub/b.png")
    assert {name: (row["split"], row["label"], row["box"]) for name, row in rows.items()} == {
        a: ("train", "happiness", [75, 25, 125, 75]),
        f"{b}#0,0,0.5,1": ("valid", "anger", [0, 0, 100, 100]),
        f"{b}#0.5,0.25,1,0.75": ("valid", "happiness", [100, 25, 200, 75]),
    }
    assert pq.read_schema("data/ingested/yolo.parquet").metadata[DRAW] == b"test"
    assert rows[f"{b}#0.5,0.25,1,0.75"]["source"].endswith("b.txt, row 3")
    assert rejected() == [("README.roboflow.txt", 0, "not_read")]


def test_a_box_is_a_share_of_the_upright_image(raw):
    name = "train/images/a.jpg"
    lay(raw, name, "1 0.5 0.25 0.5 0.5")
    jpeg = (raw / name).read_bytes()
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turned by a quarter
    (raw / name).write_bytes(jpeg[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + jpeg[2:])
    [row] = ingested().values()
    assert (row["width"], row["height"], row["box"]) == (HEIGHT, WIDTH, [25, 0, 75, 100])


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("1 0.1 0.2 0.6 0.2 0.6 0.8", [20, 20, 120, 80]),  # an outline
        ("1 0.5 0.1 0.7 0.5 0.5 0.9 0.3 0.5", [60, 10, 140, 90]),  # a turned box
        ("1.0\t.95 .5 .2 .5", [170, 25, 200, 75]),  # overhangs
    ],
)
def test_other_forms_of_a_box(raw, line, box):
    lay(raw, "train/images/a.png", line)
    [row] = ingested().values()
    np.testing.assert_allclose(row["box"], box, atol=1e-4)


def test_key_points_are_no_outline(raw):
    (raw / "data.yaml").write_text(DATA + "kpt_shape: [5, 3]\n")
    lay(raw, "train/images/a.png", FACE + " 0.1 0.1 2" * 5)
    [row] = ingested().values()
    assert row["box"] == [75, 25, 125, 75]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 0.5 0.5 0.1", "bad_row"),
        ("1 0.5 0.5 0.1 0.1 0.9", "bad_row"),  # a confidence
        ("happy 0.5 0.5 0.1 0.1", "bad_row"),
        ("1 0.5 nan 0.1 0.1", "bad_row"),
        ("7 0.5 0.5 0.1 0.1", "unknown_label"),
        ("2 0.5 0.5 0.1 0.1", "unknown_label"),  # a cat
        ("1 0.5 0.5 0 0.1", "bad_box"),
        ("1 1.5 0.5 0.1 0.1", "bad_box"),
        ("1 100 50 50 50", "bad_box"),  # pixels
        ("1 inf 0.5 0.1 0.1", "bad_box"),
    ],
)
def test_a_bad_line_costs_its_face_alone(raw, line, reason):
    lay(raw, "train/images/a.png", line, FACE)
    assert len(ingested()) == 1
    assert rejected() == [("train/labels/a.txt", 1, reason)]


def test_what_stands_alone_is_listed(raw):
    lay(raw, "train/images/a.png", FACE, FACE)  # one line twice
    lay(raw, "train/images/b.png")
    lay(raw, "train/images/c.png", label="train/labels/c.txt")
    lay(raw, "train/images/d.png", FACE, FACE.replace("1", "0", 1))  # two classes for a face
    (raw / "train/labels/e.txt").write_text(FACE)
    (raw / "train/labels/classes.txt").write_text("angry\nhappy\n")
    lay(raw, "plots/confusion.png")
    assert list(ingested()) == ["train/images/a.png"]
    assert rejected() == [
        ("plots/confusion.png", 0, "no_label"),
        ("train/images/b.png", 0, "no_label"),
        ("train/images/c.png", 0, "no_label"),
        ("train/labels/a.txt", 2, "duplicate_name"),
        ("train/labels/d.txt", 1, "contradictory_label"),
        ("train/labels/d.txt", 2, "contradictory_label"),
        ("train/labels/e.txt", 1, "missing_image"),
        ("train/labels/classes.txt", 0, "not_read"),
    ]


def test_images_without_a_face_are_no_mistake(raw):
    for number in range(9):
        lay(raw, f"train/images/{number}.png", label=f"train/labels/{number}.txt")
    lay(raw, "train/images/9.png", FACE)
    ingest.run(toy.SHIPPED, "yolo")  # stops at a tenth of the records
    assert len(rejected()) == 9


def test_label_files_may_lie_beside_their_images(raw):
    lay(raw, "train/a.b.png", FACE, label="train/a.b.txt")
    assert list(ingested()) == ["train/a.b.png"]


@pytest.mark.parametrize(
    "paths",
    [
        "path: /content/set\ntrain: images/one\nval: C:\\sets\\images\\two\n",
        "train: one.txt\nval: [./lists/two.txt]\n",
    ],
)
def test_data_yaml_tells_the_splits_of_other_folders(raw, paths):
    (raw / "data.yaml").write_text(f"{paths}names: {{0: sad, '1': happy}}\n")
    lay(raw, "images/one/a.png", FACE)
    lay(raw, "images/two/b.png", FACE)
    (raw / "lists").mkdir()
    (raw / "one.txt").write_text("/content/set/images/one/a.png\n/content/absent.png\n")
    (raw / "lists/two.txt").write_text("./images/two/b.png\n")
    assert {name: row["split"] for name, row in ingested().items()} == {
        "images/one/a.png": "train",
        "images/two/b.png": "valid",
    }


def test_what_data_yaml_gives_to_two_splits_is_trained_on(raw):
    (raw / "data.yaml").write_text("train: images\nval: images\nnames: [sad, happy]\n")
    lay(raw, "images/a.png", FACE)
    assert {name: row["split"] for name, row in ingested().items()} == {"images/a.png": "train"}
    (raw / "all.txt").write_text("images/a.png\n")
    (raw / "data.yaml").write_text("train: all.txt\nval: all.txt\nnames: [sad, happy]\n")
    assert {name: row["split"] for name, row in ingested().items()} == {"images/a.png": "train"}
    assert pq.read_schema("data/ingested/yolo.parquet").metadata[DRAW] == b"valid,test"


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt"])
def test_classes_txt_names_the_classes_if_there_is_no_data_yaml(raw, place):
    (raw / "data.yaml").unlink()
    lay(raw, "images/a.png", "\ufeff" + FACE)
    (raw / place).write_text("\nhappy\n")  # an empty line counts
    assert {name: row["label"] for name, row in ingested().items()} == {"images/a.png": "happiness"}
    assert not rejected()


def test_a_folder_around_the_data_set(tmp_path):
    (tmp_path / "Emotions.v3.yolov8").mkdir()
    (tmp_path / "Emotions.v3.yolov8/dataset.yaml").write_text(DATA)
    lay(tmp_path / "Emotions.v3.yolov8", "train/images/a.png", FACE)
    listing, part = listed("yolo", open_tree(tmp_path), Options())
    assert (part.folder, len(listing)) == ("Emotions.v3.yolov8", 1)


def test_names_of_classes_that_nothing_knows_are_asked_for(raw):
    (raw / "data.yaml").write_text("names: [emo0, emo1, emo2]\n")
    lay(raw, "train/images/a.png", FACE, "0 0.2 0.2 0.1 0.1")
    with pytest.raises(UnknownNames) as asked:
        ingested()
    assert asked.value.names == ("emo0", "emo1")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "data/raw/yolo: found nothing; expected: data.yaml with names, train/images/"),
        ({"data.yaml": "train: x"}, "expected: data.yaml with names"),
        ({"data.yaml": "names: 3"}, "data/raw/yolo/data.yaml: found names 3, expected: a list"),
        ({"data.yaml": "names: {a: b}"}, "data.yaml: found names {'a': 'b'}, expected: a list"),
        ({"data.yaml": "names: ["}, "data.yaml: line 2: not valid YAML"),
        ({"data.yaml": DATA}, "found no usable record: there is no row"),
        ({"data.yaml": 'test: "a\\0b"\n' + DATA}, "found no usable record: there is no row"),
        ({"a.yaml": DATA, "b.yaml": DATA}, "found a.yaml, b.yaml; expected: data.yaml with names"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(project, files, message):
    folder = project / "data/raw/yolo"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(UserError) as error:
        ingested()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


CELL = st.sampled_from(["0", "1", "0.5", "-1", "nan", "1e400", "é", "\0"]) | st.text(max_size=3)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(CELL, max_size=8).map(" ".join), max_size=5))
def test_no_label_file_breaks_the_reader(tmp_path, lines):
    (tmp_path / "data.yaml").write_text(DATA)
    for folder in ("images", "labels"):
        (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "train/images/a.png").touch()
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    (tmp_path / "train/labels/a.txt").write_bytes(data)
    listing = yolo.records(open_tree(tmp_path), Options())
    expected = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    assert len(toy.listed(listing)) + len(listing.rejected) == max(1, len(expected))
