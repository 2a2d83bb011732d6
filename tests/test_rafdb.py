"""RAF-DB in both published forms, as small generated trees."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import rafdb
from pipeline.faces.alignment import REFERENCE
from pipeline.intake.options import Options
from pipeline.params.model import Params
from pipeline.stages import align, ingest
from pipeline.tables.store import Faces
from tests import toy

# The authors' codes.
NAMES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
LIST = "EmoLabel/list_patition_label.txt"
STEMS = [f"train_{i:05d}" for i in range(1, 8)] + [f"test_{i:04d}" for i in range(1, 8)]
CODES = dict(zip(STEMS, [5, 1, 7, 2, 6, 3, 4, 1, 2, 3, 4, 5, 6, 7], strict=True))


def write_image(path: Path, seed: int, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (width, height)))


def write_official(
    root: Path, *kinds: str, rows: list[str] | None = None, annotated: bool = False, codes=CODES
) -> None:
    (root / "EmoLabel").mkdir(parents=True)
    lines = rows or [f"{stem}.jpg {code}" for stem, code in codes.items()]
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")
    for seed, stem in enumerate(STEMS):
        if "original" in kinds:
            write_image(root / f"Image/original/{stem}.jpg", seed, 160, 140)
        if "aligned" in kinds:
            write_image(root / f"Image/aligned/{stem}_aligned.jpg", seed, 100, 100)
        if annotated:
            annotate(root, stem)


def annotate(root: Path, stem: str, points=REFERENCE + [20, 10], box: str = "30.0 20.0 130.0 130.0") -> None:
    for name in ("manual", "boundingbox"):
        (root / "Annotation" / name).mkdir(parents=True, exist_ok=True)
    text = "".join(f"{x:.3f}\t{y:.3f}\n" for x, y in points) + "1\n0\n2\n"
    (root / f"Annotation/manual/{stem}_manu_attri.txt").write_text(text)
    (root / f"Annotation/boundingbox/{stem}_boundingbox.txt").write_text(box + " \n")


def write_kaggle(root: Path, *lists: str, codes=CODES) -> None:
    for seed, (stem, code) in enumerate(codes.items()):
        split = stem.split("_")[0]
        write_image(root / f"DATASET/{split}/{code}/{stem}_aligned.jpg", seed, 100, 100)
    for split in lists:
        rows = [f"{stem}_aligned.jpg,{code}" for stem, code in codes.items() if stem.startswith(split)]
        (root / f"{split}_labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")


def chosen(images: str) -> Params:
    return toy.PARAMS.model_copy(update={"ingest": toy.PARAMS.ingest.model_copy(update={"rafdb": images})})


@pytest.fixture
def root(project):
    return Path("data/raw/rafdb")


def ingested(images: str = "aligned") -> dict[str, dict]:
    ingest.run(chosen(images), "rafdb")
    return {row["id"]: row for row in pq.read_table("data/ingested/rafdb.parquet").to_pylist()}


def rejected() -> list[tuple[str, str, str]]:
    with open("data/ingested/rafdb.rejected.csv", newline="") as file:
        return [
            (row["file"], row["row"], row["reason"])
            for row in csv.DictReader(file)
            if row["reason"] != "not_read"
        ]


def metrics() -> dict:
    return json.loads(Path("metrics/ingest/rafdb.json").read_text())


def check_labels(rows: dict[str, dict]) -> None:
    """Every record has the label and the split that its name stands for in the authors' list."""
    assert {row: (value["split"], value["label"]) for row, value in rows.items()} == {
        f"rafdb/{stem}": (stem.split("_")[0], NAMES[code]) for stem, code in CODES.items()
    }
    assert all(row["votes"] is None and row["group"] is None for row in rows.values())


@pytest.mark.parametrize("kind", ["original", "aligned"])
def test_the_authors_form(root, kind):
    write_official(root, "original", "aligned", annotated=True)
    rows = ingested(kind)
    check_labels(rows)
    assert rejected() == []
    assert metrics()["splits"] == {"train": 7, "test": 7}
    other = {"original": "aligned", "aligned": "original"}[kind]
    notes = metrics()["notes"]
    assert (notes["images"], notes[f"{other}_not_read"], notes["images_without_row"]) == (kind, 14, 0)
    assert ("given" in notes) == (kind == "original"), "the landmarks are of the originals"
    assert rows["rafdb/test_0003"]["source"] == "EmoLabel/list_patition_label.txt, row 10"
    assert rows["rafdb/test_0003"]["width"] == {"original": 160, "aligned": 100}[kind]
    assert pq.read_schema("data/ingested/rafdb.parquet").metadata[b"draw"] == b"valid"


@pytest.mark.parametrize("lists", [(), ("train", "test"), ("test",)])
def test_kaggles_form(root, lists):
    write_kaggle(root, *lists)
    rows = ingested()
    check_labels(rows)
    assert rejected() == []
    assert metrics()["notes"] == {"images": "aligned", "images_without_row": 0}
    by_row = rows["rafdb/test_0001"]["source"]
    assert by_row == ("test_labels.csv, row 2" if lists else "DATASET/test/1/test_0001_aligned.jpg")


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("original", lambda root: write_official(root, "aligned")),
        ("original", lambda root: write_kaggle(root)),
        ("aligned", lambda root: write_official(root, "original")),
    ],
)
def test_images_that_are_not_there_are_answered_with_those_that_are(root, kind, write):
    write(root)
    other = {"original": "aligned", "aligned": "original"}[kind]
    with pytest.raises(UserError) as error:
        ingested(kind)
    found = f"data/raw/rafdb: found only the {other} images while ingest.rafdb is {kind}, allowed: "
    assert str(error.value) == f"{found}ingest.rafdb: {other}, or a tree with Image/{kind}/"


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (lambda root, codes: write_official(root, "aligned", codes=codes), f"{LIST}, row 2"),
        (
            lambda root, codes: write_official(root, "aligned", codes={k: f"0{c}" for k, c in codes.items()}),
            f"{LIST}, row 2",
        ),
        (lambda root, codes: write_kaggle(root, codes=codes), "DATASET/train/0/train_00002_aligned.jpg"),
        (lambda root, codes: write_kaggle(root, "train", codes=codes), "train_labels.csv, row 3"),
    ],
)
def test_codes_that_count_from_0_refuse_the_whole_list(root, write, place):
    write(root, {stem: code - 1 for stem, code in CODES.items()})
    with pytest.raises(UserError) as error:
        ingested()
    assert (
        str(error.value)
        .replace("code 00", "code 0")
        .startswith(f"data/raw/rafdb/{place}: found the code 0: ")
    )
    assert str(error.value).endswith(
        "allowed: 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral"
    )
    assert not Path("data/ingested/rafdb.parquet").exists()


@pytest.mark.usefixtures("weights_here")
def test_landmarks_marked_by_hand_take_the_detectors_place(root):
    write_official(root, "original", annotated=True)
    annotate(root, STEMS[1], (REFERENCE + [20, 10])[[1, 0, 2, 4, 3]])  # the subject's left
    annotate(root, STEMS[2], REFERENCE + 100, "150 20 130 130")  # outside the image; a width below zero
    (root / f"Annotation/manual/{STEMS[3]}_manu_attri.txt").unlink()
    (root / f"Annotation/manual/{STEMS[4]}_manu_attri.txt").write_text("1\t2\n")
    (root / f"Annotation/boundingbox/{STEMS[4]}_boundingbox.txt").write_bytes(b"\xff\xfe wide")
    rows = ingested("original")
    check_labels(rows)
    for stem in (STEMS[0], STEMS[1]):
        assert np.allclose(rows[f"rafdb/{stem}"]["landmarks"], (REFERENCE + [20, 10]).ravel(), atol=1e-3)
        assert rows[f"rafdb/{stem}"]["box"] == [30, 20, 130, 130]
    assert [rows[f"rafdb/{stem}"]["landmarks"] for stem in STEMS[2:5]] == [None] * 3
    assert metrics()["notes"] == {
        "images": "original",
        "aligned_not_read": 0,
        "annotations_absent": {"manual": 1, "boundingbox": 0},
        "images_without_row": 0,
        "given": {"box": 14, "box_ignored": 2, "landmarks": 13, "landmarks_ignored": 2},
        "attributes": {"age": 12, "gender": 12, "race": 12},
        "attributes_ignored": {"age": 1, "gender": 1, "race": 1},
    }

    given_points = toy.PARAMS.align.model_copy(update={"landmarks": "given", "face_size": 112})
    align.run(toy.PARAMS.model_copy(update={"align": given_points}), "rafdb")
    counts = json.loads(Path("metrics/align/rafdb.json").read_text())
    assert (counts["images"], counts["given"], counts["found"] + counts["fallback"]) == (14, 11, 14)
    faces = Faces(Path("data/aligned/rafdb.arrow"))
    at = faces.ids().index(f"rafdb/{STEMS[0]}")
    image = cv2.imread(str(root / f"Image/original/{STEMS[0]}.jpg"), cv2.IMREAD_GRAYSCALE)
    assert np.abs(faces[at][..., 0].astype(int) - image[10:122, 20:132]).max() <= 4  # moved, not turned


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("train_00002.jpg 8", "unknown_label"),
        ("train_00002.jpg surprise", "unknown_label"),
        ("train_00002.jpg", "bad_row"),
        ("train_00002.jpg 1 2", "bad_row"),
        ("\f", "bad_image_name"),
        ("../train_00002.jpg 1", "bad_image_name"),
        ("valid_00002.jpg 1", "bad_image_name"),
        ("train_00001.jpg 5", "duplicate_name"),
        ("train_00099.jpg 5", "missing_image"),
    ],
)
def test_a_bad_row_is_listed_and_its_neighbours_arrive(root, row, reason):
    write_official(root, "aligned", rows=["train_00001.jpg 5", row, "test_0001.jpg 1"])
    assert ingested().keys() == {"rafdb/train_00001", "rafdb/test_0001"}
    assert rejected() == [(LIST, "2", reason)]
    assert metrics()["notes"]["images_without_row"] == 12 - (row.startswith("train_00002"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("train_00002_aligned.jpg,8", "unknown_label"),
        ("train_00002_aligned.jpg,2", "contradicting_label"),
        ("train_00002_aligned.jpg,1,1", "bad_row"),
        ("test_0001_aligned.jpg,1", "bad_split"),
        ("train_00099_aligned.jpg,1", "missing_image"),
        ("/etc/passwd,1", "bad_image_name"),
    ],
)
def test_a_bad_row_of_kaggles_lists_is_listed(root, row, reason):
    write_kaggle(root, "test")
    (root / "train_labels.csv").write_text(f"image,label\ntrain_00001_aligned.jpg,5\n{row}\n")
    assert len(ingested()) == 8
    assert rejected() == [("train_labels.csv", "3", reason)]


def test_an_image_in_a_folder_of_no_code_is_listed_and_a_macs_files_are_not(root):
    write_kaggle(root)
    write_image(root / "DATASET/train/8/train_00008_aligned.jpg", 0, 100, 100)
    write_image(root / "DATASET/train/1/copy.jpg", 0, 100, 100)
    (root / "DATASET/train/1/._train_00002_aligned.jpg").write_bytes(b"\0\5\x16\7")
    (root / "DATASET/.DS_Store").write_bytes(b"\0")
    check_labels(ingested())
    assert rejected() == [
        ("DATASET/train/1/copy.jpg", "0", "bad_image_name"),
        ("DATASET/train/8/train_00008_aligned.jpg", "0", "unknown_label"),
    ]


@pytest.mark.parametrize("write", [lambda root: write_official(root, "aligned"), write_kaggle])
def test_an_archive_gives_the_same(root, tmp_path, write):
    write(root)
    folder = ingested()
    (root.parent / "__MACOSX/rafdb").mkdir(parents=True)
    (root.parent / "__MACOSX/rafdb/._EmoLabel").write_bytes(b"\0\5\x16\7")
    archive = shutil.make_archive(str(tmp_path / "rafdb"), "zip", root.parent)
    shutil.rmtree(root.parent)
    root.parent.mkdir()
    root.symlink_to(archive)
    assert ingested() == folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), "nothing"),
        (("EmoLabel/list_patition_label.txt",), "EmoLabel/"),
        (("Image/aligned/train_00001_aligned.jpg",), "Image/"),
        (("train/angry/1.jpg",), "train/"),
        (("EmoLabel/other.txt", "Image/aligned/a.jpg"), "EmoLabel/, Image/"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(root, files, found):
    root.mkdir(parents=True)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    with pytest.raises(UserError) as error:
        ingested()
    expected = (
        f"data/raw/rafdb: found {found}; expected: EmoLabel/list_patition_label.txt with Image/original/"
    )
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


def test_a_list_with_other_columns_is_one_line(root):
    write_kaggle(root, "train")
    (root / "test_labels.csv").write_text("file,sentiment\n")
    with pytest.raises(UserError, match=r"test_labels\.csv: found no column label, expected: image"):
        ingested()


WORD = st.sampled_from(
    ["train_00001.jpg", "test_0001_aligned.jpg", "1", "7", "8", "-1", '"', "nan", "\0", ".."]
)
TEXT = st.lists(
    st.lists(WORD | st.text(max_size=4), max_size=4).map(" ".join)
    | st.lists(WORD | st.text(max_size=4), max_size=4).map(",".join),
    max_size=5,
).map("\n".join)
CONTENT = TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=CONTENT, manual=CONTENT, box=CONTENT)
def test_no_file_breaks_the_reader(tmp_path, content, manual, box):
    official, kaggle = tmp_path / "official", tmp_path / "kaggle"
    if not official.exists():
        write_official(official, "original", annotated=True)
        write_kaggle(kaggle)
    (official / LIST).write_bytes(content)
    (official / "Annotation/manual/train_00001_manu_attri.txt").write_bytes(manual)
    (official / "Annotation/boundingbox/train_00001_boundingbox.txt").write_bytes(box)
    (kaggle / "train_labels.csv").write_bytes(b"image,label\n" + content)
    for folder, images in ((official, "original"), (kaggle, "aligned")):
        assert "\n" not in toy.answer(rafdb.records, folder, Options(rafdb=images))
