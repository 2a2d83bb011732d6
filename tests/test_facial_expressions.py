"""facial_expressions: the real files where they are, small trees for what they lack."""

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.datasets import facial_expressions, folder
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import align, ingest, label
from tests import toy

ROOT = Path(__file__).parents[1]

SHARED = Path(os.environ.get("FER_SHARED", Path(__file__).parents[2] / "shared")) / "data/facial_expressions"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs facial_expressions in {SHARED}")


def write(root: Path, *rows: str, images: tuple[str, ...] = ()) -> Path:
    for name in ("data", "images"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "data/legend.csv").write_text("\n".join(("user.id,image,emotion", *rows)) + "\n")
    for image in images:
        cv2.imwrite(str(root / "images" / image), np.zeros((9, 9), np.uint8))
    return root


@real
def test_every_real_image_is_accounted_for():
    listing = facial_expressions.records(open_tree(SHARED), Options())
    records = toy.listed(listing)
    images = set(os.listdir(SHARED / "images"))
    listed = {record["name"] for record in records} | {row.record for row in listing.rejected}
    assert listed == images
    with (SHARED / "data/legend.csv").open() as legend:
        rows = [line.strip().split(",") for line in legend][1:]
    assert len(records) + len(listing.rejected) == len(rows)
    assert Counter(row.reason for row in listing.rejected) == {"duplicate_row": 4, "contradictory_label": 2}
    labels = Counter(label.lower() for image, label in {image: label for _, image, label in rows}.items())
    labels["surprise"] -= 0  # the contradictory image's last row says sadness
    labels["sadness"] -= 1
    assert Counter(record["label"] for record in records) == labels
    assert listing.draw == ("valid", "test")


@real
def test_a_person_of_the_real_set_is_one_group():
    groups = {
        r["name"]: r["group"] for r in toy.listed(facial_expressions.records(open_tree(SHARED), Options()))
    }
    assert groups["Alejandro_Toledo_0004.jpg"] == groups["Alejandro_Toledo_0037.jpg"] == "Alejandro_Toledo"
    assert sum(group is None for group in groups.values()) == 4  # named after the repository


@real
@pytest.mark.usefixtures("weights_here")
def test_faces_of_the_real_set_are_found_and_no_person_is_in_two_splits(project: Path):
    toy.set_params(project, datasets=["facial_expressions"])
    p = params.load()
    ingest.run(p, "facial_expressions", SHARED)
    every_eighth = pq.read_table("data/ingested/facial_expressions.parquet").take([*range(0, 2_554, 8)])
    Path("some").mkdir()
    pq.write_table(every_eighth, "some/facial_expressions.parquet")
    align.run(p, "facial_expressions", "some", "some")
    found = json.loads(Path("some/facial_expressions.json").read_text())
    assert found["images"] == 320
    assert found["found_rate"] >= 0.99

    toy.set_params(project, **{"align.mode": "none"})
    p = params.load()
    align.run(p, "facial_expressions")
    label.run(p)

    splits = defaultdict(set)
    rows = pq.read_table("data/labels.parquet").to_pylist()
    for row in rows:
        splits[row["id"].split("/")[1].rsplit("_", 1)[0]].add(row["split"])
    assert all(len(found) == 1 for person, found in splits.items() if person != "facial-expressions")
    counts = Counter(row["split"] for row in rows)
    assert counts.total() == 2_554
    # 1,465 people with 1 to 97 images: the shares of 95 in 100 draws
    assert 0.05 < counts["valid"] / counts.total() < 0.15
    assert 0.05 < counts["test"] / counts.total() < 0.15
    kept = json.loads(Path("metrics/label.json").read_text())
    assert not any(kept["duplicates"].values())
    assert not any(value for key, value in kept["near_duplicates"].items() if "_in_" in key)


def test_rows_that_agree_are_one_record_and_rows_that_do_not_are_none(tmp_path):
    write(
        tmp_path,
        "1,Ann_Lee_01.jpg,HAPPINESS",
        "2,Ann_Lee_01.jpg,happiness",
        "1,Bo_2.jpg,fear",
        "2,Bo_2.jpg,ANGER",
        "1,c.jpg,sadness",
        "1,d.jpg,puzzled",
        "1,../e.jpg,fear",
        "1,f.jpg",
        images=("Ann_Lee_01.jpg", "Bo_2.jpg", "c.jpg", "d.jpg", "alone.jpg"),
    )
    listing = facial_expressions.records(open_tree(tmp_path), Options())
    records = toy.listed(listing)
    assert [(r["name"], r["label"], r["group"], r["split"], r["row"]) for r in records] == [
        ("Ann_Lee_01.jpg", "happiness", "Ann_Lee", None, 2),
        ("c.jpg", "sadness", None, None, 6),
    ]
    assert sorted((row.row, row.reason) for row in listing.rejected) == [
        (0, "no_label"),
        (3, "duplicate_row"),
        (4, "contradictory_label"),
        (5, "contradictory_label"),
        (7, "unknown_label"),
        (8, "bad_image_name"),
        (9, "bad_row"),
    ]


def test_a_wrong_tree_is_answered_with_the_expected_one(tmp_path):
    (tmp_path / "legend.csv").touch()
    with pytest.raises(
        UserError, match=r"found legend\.csv; expected: data/legend\.csv and the folder images/"
    ):
        facial_expressions.records(open_tree(tmp_path), Options())
    write(tmp_path)
    (tmp_path / "data/legend.csv").write_text("image,name\n")
    with pytest.raises(
        UserError, match=r"legend\.csv: found no column label, expected: user\.id, image, emotion"
    ):
        facial_expressions.records(open_tree(tmp_path), Options())


CELL = st.sampled_from(["1", "a_1.jpg", "..", "", '"', "fear", "FEAR", "é", "\0"]) | st.text(max_size=4)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELL, max_size=4).map(",".join), max_size=6))
def test_no_legend_breaks_the_reader(tmp_path, rows):
    write(tmp_path)
    text = "user.id,image,emotion\n" + "\n".join(rows)
    (tmp_path / "data/legend.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        listing = facial_expressions.records(open_tree(tmp_path), Options())
    except UserError:
        return
    assert all(r["label"] in ("fear",) for r in toy.listed(listing) if r["name"] == "a_1.jpg")


@pytest.mark.parametrize("top", ["", "train/", "val/"])
def test_folders_named_after_classes(tmp_path, top):
    names = ("happiness/a.png", "Happy/sub/b.png", "sad/c.png", "puzzled/d.png", "e.png")
    for name in names:
        (tmp_path / top / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / top / name), np.zeros((9, 9), np.uint8))
    listing = folder.records(open_tree(tmp_path), Options())
    split = {"": None, "train/": "train", "val/": "valid"}[top]
    assert {r["name"]: (r["label"], r["split"]) for r in toy.listed(listing)} == {
        f"{top}happiness/a.png": ("happiness", split),
        f"{top}Happy/sub/b.png": ("happiness", split),
        f"{top}sad/c.png": ("sadness", split),
    }
    assert sorted((row.file, row.reason) for row in listing.rejected) == [
        (f"{top}e.png", "no_label"),
        (f"{top}puzzled/d.png", "unknown_label"),
    ]
    assert listing.draw == {"": ("valid", "test"), "train/": ("valid", "test"), "val/": ("test",)}[top]


def test_files_outside_the_splits_are_rejected_by_name(tmp_path):
    names = ("Training/happy/a.png", "Testing/sad/b.png", "test/c.png", "happy/d.png", "notes/e.png", "f.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listing = folder.records(open_tree(tmp_path), Options())
    assert {r["name"]: r["split"] for r in toy.listed(listing)} == dict(
        zip(names[:2], ("train", "test"), strict=True)
    )
    assert sorted(row.file for row in listing.rejected) == sorted(names[2:5])  # f.txt is no image
    assert {row.reason for row in listing.rejected} == {"no_split"}


def test_no_folder_named_after_a_class_is_answered_with_the_expected_tree(tmp_path):
    (tmp_path / "puzzled").mkdir()
    with pytest.raises(UserError, match=r"found puzzled/; expected: one folder for each class"):
        folder.records(open_tree(tmp_path), Options())
