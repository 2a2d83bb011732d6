"""JAFFE, KDEF and ExpW, as small generated trees: names and rows as their authors publish them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import expw
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from pipeline.tables.schema import DRAW
from tests import toy

NAMES = ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]


def lay(dataset: str, *names: str) -> Path:
    """Write an image for each name into the raw data of a data set."""
    root = Path("data/raw", dataset)
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(
            str(root / name), np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        )
    return root


def ingested(dataset: str, p=toy.PARAMS) -> dict[str, dict]:
    ingest.run(p, dataset)
    table = pq.read_table(f"data/ingested/{dataset}.parquet")
    assert table.schema.metadata[DRAW] == b"valid,test"
    return {row["id"].removeprefix(f"{dataset}/"): row for row in table.to_pylist()}


def rejected(dataset: str) -> list[tuple[str, int, str]]:
    with open(f"data/ingested/{dataset}.rejected.csv", newline="") as file:
        return [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


# ------------------------------------------------------------------------------------------------ JAFFE and KDEF


@pytest.mark.usefixtures("project")
def test_jaffe_s_names_tell_person_and_expression():
    codes = ["AN", "DI", "FE", "HA", "NE", "SA", "SU"]
    names = [
        f"{person}.{code}{take}.{n}.tiff"
        for n, (person, code, take) in enumerate(product(["KA", "NA"], codes, (1, 2)))
    ]
    root = lay("jaffe", *names, "sub/YM.FE4.70.png", "KA.XX1.5.tiff", "photo.png")
    (root / "README.txt").touch()
    rows = ingested("jaffe")
    expected = {name[: -len(".tiff")]: (name[:2], NAMES[codes.index(name[3:5])]) for name in names}
    assert {name: (row["group"], row["label"]) for name, row in rows.items()} == {
        **expected,
        "YM.FE4.70": ("YM", "fear"),
    }
    assert rejected("jaffe") == [
        ("KA.XX1.5.tiff", 0, "unknown_label"),
        ("photo.png", 0, "bad_image_name"),
        ("README.txt", 0, "not_read"),
    ]


@pytest.mark.usefixtures("project")
def test_kdef_s_straight_images_are_records_and_the_other_angles_are_no_mistake():
    actors = ["AF01", "BF01", "AM35"]
    codes = {"AN": 0, "DI": 1, "AF": 2, "HA": 3, "NE": 4, "SA": 5, "SU": 6}
    angles = ["S", "HL", "HR", "FL", "FR"]
    names = [f"{actor}{code}{angle}" for actor, code, angle in product(actors, codes, angles)]
    lay("kdef", *(f"{name[:4]}/{name}.JPG" for name in names), "AF01/AF31V.JPG")
    rows = ingested("kdef", toy.SHIPPED)  # which stops at a tenth of mistakes
    assert {name: (row["group"], row["label"]) for name, row in rows.items()} == {
        name: (name[1:4], NAMES[codes[name[4:6]]]) for name in names if name[6:] == "S"
    }
    counts = json.loads(Path("metrics/ingest/kdef.json").read_text())["rejected"]
    assert counts == {"other_angle": 3 * 7 * 4, "bad_image_name": 1}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("jaffe", "expected: images with names like KA.AN1.39.tiff"),
        ("kdef", "expected: AF01/ ... with images like AF01ANS.JPG"),
        ("expw", "expected: label/label.lst and the images in image/origin/"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_wrong_tree_is_answered_with_the_expected_one(dataset, message):
    lay(dataset, "happy/a.png", "AF01ANHL.JPG")
    with pytest.raises(UserError, match=message) as error:
        ingested(dataset)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------- ExpW


@pytest.fixture
def photos(project) -> Path:
    """Three photographs of 320 x 240 pixels in the authors' layout."""
    root = lay("expw", *(f"image/origin/{name}.jpg" for name in ("angry_actor_104", "two", "alone")))
    for path in root.rglob("*.jpg"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (320, 240)))
    return root


def write(root: Path, *lines: str, file: str = "label/label.lst") -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("file", ["label/label.lst", "label.lst"])
def test_each_row_of_expw_is_a_face(photos, file):
    write(
        photos,
        "angry_actor_104.jpg 0 28 113 226 141 22.9362 0",  # as published
        "two.jpg 0 10 20 60 50 9.5 4",
        "two.jpg 1 30 200 280 110 99 3",
        file=file,
    )
    rows = ingested("expw")
    assert {name: (row["label"], row["box"]) for name, row in rows.items()} == {
        "angry_actor_104.jpg": ("anger", [113, 28, 226, 141]),
        "two.jpg#20,10,60,50": ("sadness", [20, 10, 60, 50]),
        "two.jpg#200,30,280,110": ("happiness", [200, 30, 280, 110]),
    }
    assert {row["group"] for row in rows.values()} == {None, "image/origin/two.jpg"}
    assert rows["two.jpg#20,10,60,50"]["source"] == f"{file}, row 2"
    assert rejected("expw") == [("image/origin/alone.jpg", 0, "not_read")]


def test_codes_of_expw_are_its_authors(photos):
    # Their readme: "0" "angry", "1" "disgust", "2" "fear", "3" "happy", "4" "sad", "5" "surprise", "6" "neutral".
    write(photos, *(f"two.jpg {code} 10 {10 + 30 * code} {30 + 30 * code} 40 50 {code}" for code in range(7)))
    labels = {row["box"][0]: row["label"] for row in ingested("expw").values()}
    expected = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    assert [labels[left] for left in sorted(labels)] == expected


def test_a_bad_row_of_expw_costs_itself_alone(photos):
    write(
        photos,
        "two.jpg 0 10 20 60 50 9.5 4",
        "two.jpg 1 30 200 280 110 99 7",
        "two.jpg 30 200 280 110 99 3",
        "two.jpg 2 30 x 280 110 99 3",
        "two.jpg 3 30 280 200 110 99 3",
        "two.jpg 4 300 20 60 500 99 3",
        "absent.jpg 0 10 20 60 50 9.5 4",
        "../two.jpg 0 10 20 60 50 9.5 4",
        "two.jpg 0 10 20 60 50 9.5 5",
        "alone.jpg 0 -20 -10 90 80 9.5 5",
    )
    rows = ingested("expw")
    assert {name: row["box"] for name, row in rows.items()} == {"alone.jpg": [0, 0, 90, 80]}
    assert rejected("expw")[:-1] == [
        ("label/label.lst", 1, "contradictory_label"),
        ("label/label.lst", 2, "unknown_label"),
        ("label/label.lst", 3, "bad_row"),
        ("label/label.lst", 4, "bad_box"),
        ("label/label.lst", 5, "bad_box"),
        ("label/label.lst", 6, "bad_box"),
        ("label/label.lst", 7, "missing_image"),
        ("label/label.lst", 8, "outside_folder"),
        ("label/label.lst", 9, "contradictory_label"),
    ]


CELL = st.sampled_from(["two.jpg", "0", "9", "-1", "nan", "1e400", "..", "é", "\0"]) | st.text(max_size=3)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(CELL, max_size=9).map(" ".join), max_size=5))
def test_no_list_of_expw_breaks_the_reader(tmp_path, lines):
    (tmp_path / "image").mkdir(exist_ok=True)
    (tmp_path / "image/two.jpg").touch()
    (tmp_path / "label.lst").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        listing = expw.records(open_tree(tmp_path), Options())
    except UserError:
        return
    rows = [(row["file"], row["row"]) for row in toy.listed(listing)]
    assert max(Counter([*rows, *((r.file, r.row) for r in listing.rejected)]).values(), default=1) == 1
