"""AffectNet in the forms of 2017 and 2021, as small generated trees."""

import csv
import io
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import affectnet
from pipeline.faces.alignment import REFERENCE
from pipeline.stages import ingest
from tests import toy

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
# The published codes; 8, none of these, has no name in the vocabulary.
NAMES = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
    9: "unknown",
    10: "NF",
}
FIVE = REFERENCE + [8, 4]
BOX = "10,12,100,90"


def landmarks() -> np.ndarray:
    """68 points of which the five that matter are those of `FIVE`."""
    points = np.full((68, 2), 60.0)
    ring = np.array([[-3, 0], [-1, -2], [1, -2], [3, 0], [1, 2], [-1, 2]])
    points[36:42], points[42:48] = FIVE[0] + ring, FIVE[1] + ring
    points[30], points[48], points[54] = FIVE[2:]
    return points


POINTS = ";".join(f"{value:.2f}" for value in landmarks().ravel())


def row(image: str, code: object, box: str = BOX, points: str = POINTS) -> str:
    return f"{image},{box},{points},{code},-0.1,0.2"


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8))


def write_lists(
    root: Path,
    train: dict[str, int],
    valid: dict[str, int],
    images: str = "Manually_Annotated_Images",
    lists: str = "",
    header: bool = True,
) -> None:
    (root / lists).mkdir(parents=True, exist_ok=True)
    for seed, image in enumerate({**train, **valid}):
        write_image(root / images / image, seed)
    rows = [row(image, code) for image, code in train.items()]
    (root / lists / "training.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    rows = [HEADER] * header + [row(image, code) for image, code in valid.items()]
    (root / lists / "validation.csv").write_text("\n".join(rows) + "\n")


def array(values: object) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def write_sets(root: Path, **sets: dict[str, int]) -> None:
    for split, codes in sets.items():
        folder = root / f"{split}_set"
        (folder / "annotations").mkdir(parents=True)
        for name, code in codes.items():
            write_image(folder / f"images/{name}.jpg", int(name))
            annotations = {"exp": np.array(str(code)), "val": np.array("0.1"), "aro": np.array("0.2")}
            for kind, values in (annotations | {"lnd": landmarks().ravel()}).items():
                (folder / f"annotations/{name}_{kind}.npy").write_bytes(array(values))


TRAIN = {f"{code + 1}/{code:06x}.jpg": code for code in NAMES}
VALID = {f"{code + 1}/{code + 99:06x}.png": code for code in NAMES if code < 8}
TRAIN_SET = {str(code + 10): code for code in NAMES}
VALID_SET = {str(code): code for code in NAMES if code < 8}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path("data/raw/affectnet")


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "affectnet")
    return {row["id"]: row for row in pq.read_table("data/ingested/affectnet.parquet").to_pylist()}


def rejected() -> list[tuple[str, str, str]]:
    with open("data/ingested/affectnet.rejected.csv", newline="") as file:
        return [
            (row["file"], row["row"], row["reason"])
            for row in csv.DictReader(file)
            if row["reason"] != "not_read"
        ]


def metrics() -> dict:
    return json.loads(Path("metrics/ingest/affectnet.json").read_text())


def check(rows: dict[str, dict], train: dict[str, int], valid: dict[str, int]) -> None:
    """Every record has the label of its code, its split and the landmarks."""
    assert {name: (value["split"], value["label"]) for name, value in rows.items()} == {
        **{f"affectnet/{name}": ("train", NAMES[code]) for name, code in train.items()},
        **{f"affectnet/{name}": ("valid", NAMES[code]) for name, code in valid.items()},
    }
    for value in rows.values():
        assert np.allclose(value["landmarks"], FIVE.ravel(), atol=0.01)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("lists", "images"),
    [
        ("", "Manually_Annotated_Images"),
        ("", ""),
        ("Manually_Annotated_file_lists", "Manually_Annotated"),
        ("Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_Images"),
        ("Manually_Annotated_file_lists", "Manually_Annotated_file_lists"),
    ],
)
def test_the_lists_of_2017(root, lists, images, header):
    write_lists(root, TRAIN, VALID, images, lists, header)
    rows = ingested()
    check(rows, TRAIN, VALID)
    assert rejected() == []
    assert all(value["box"] == [10, 12, 110, 102] for value in rows.values())
    assert metrics()["splits"] == {"train": 10, "valid": 8}
    count = {"box": 18, "box_ignored": 0, "landmarks": 18, "landmarks_ignored": 0}
    assert metrics()["notes"] == {"images_without_row": 0, "given": count}
    assert pq.read_schema("data/ingested/affectnet.parquet").metadata[b"draw"] == b"test"
    assert rows["affectnet/1/000063.png"]["source"] == (
        f"{lists}/validation.csv".lstrip("/") + f", row {1 + header}"
    )


def test_the_folders_of_2021(root):
    write_sets(root, train=TRAIN_SET, val=VALID_SET)
    rows = ingested()
    check(
        rows,
        {f"train_set/{name}": code for name, code in TRAIN_SET.items()},
        {f"val_set/{name}": code for name, code in VALID_SET.items()},
    )
    assert rejected() == []
    assert metrics()["notes"] == {"images_without_row": 0, "given": {"landmarks": 18, "landmarks_ignored": 0}}
    assert rows["affectnet/val_set/3"]["source"] == "val_set/annotations/3_exp.npy"


def test_codes_are_numbers_however_they_are_written(root):
    write_sets(root, train=dict.fromkeys(map(str, range(6)), 1))
    for name, value in enumerate([3, 3.0, np.float32(3), b"3", " 3 ", np.array(["3"])]):
        (root / f"train_set/annotations/{name}_exp.npy").write_bytes(array(np.array(value)))
    assert [value["label"] for value in ingested().values()] == ["surprise"] * 6


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row("2/b.jpg", 8), "other_expression"),
        (row("2/b.jpg", 11), "unknown_label"),
        (row("2/b.jpg", -1), "unknown_label"),
        (row("2/b.jpg", "1.5"), "unknown_label"),
        (row("2/b.jpg", ""), "unknown_label"),
        (row("2/b.jpg", "happy"), "unknown_label"),
        (row("2/b.jpg", 1) + ",0", "bad_row"),
        ("2/b.jpg,1", "bad_row"),
        (row("../b.jpg", 1), "bad_image_name"),
        (row("2/../b.jpg", 1), "bad_image_name"),
        (row("2/..", 1), "bad_image_name"),
        (row("/etc/passwd", 1), "bad_image_name"),
        (row("", 1), "bad_image_name"),
        (row("2/absent.jpg", 1), "missing_image"),
        (row("1/a.jpg", 3), "duplicate_name"),
    ],
)
def test_a_bad_row_is_listed_and_its_neighbours_arrive(root, line, reason):
    write_lists(root, {"1/a.jpg": 0, "2/b.jpg": 1, "3/c.jpg": 2}, {})
    text = "\n".join((HEADER, row("1/a.jpg", 0), line, row("3/c.jpg", 2)))
    (root / "training.csv").write_text(text)
    assert ingested().keys() == {"affectnet/1/a.jpg", "affectnet/3/c.jpg"}
    assert rejected() == [("training.csv", "3", reason)]


def test_of_a_name_in_both_lists_validations_row_counts(root):
    write_lists(root, {"1/a.jpg": 0, "2/b.jpg": 1}, {"2/b.jpg": 5})
    rows = ingested()
    assert (rows["affectnet/2/b.jpg"]["split"], rows["affectnet/2/b.jpg"]["label"]) == ("valid", "disgust")
    assert rejected() == [("training.csv", "3", "duplicate_name")]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ("0,0,128,128", [0, 0, 128, 128]),
        ("10,10,-50,20", None),
        ("10,10,0,20", None),
        ("100,100,110,120", None),  # corners where widths should be
        ("-40,0,100,100", None),
        ("nan,0,100,100", None),
        ("10,x,100,100", None),
        ("NULL,NULL,NULL,NULL", None),
        (",,,", None),
    ],
)
def test_a_box_that_does_not_lie_in_the_image_is_left_out_and_counted(root, box, kept):
    write_lists(root, {"1/a.jpg": 0}, {"2/b.jpg": 1})
    (root / "training.csv").write_text(f"{HEADER}\n{row('1/a.jpg', 0, box)}\n")
    rows = ingested()
    assert rows["affectnet/1/a.jpg"]["box"] == kept
    assert np.allclose(rows["affectnet/1/a.jpg"]["landmarks"], FIVE.ravel(), atol=0.01)
    absent = box in (",,,", "NULL,NULL,NULL,NULL")
    counts = metrics()["notes"]["given"]
    assert (counts["box"], counts["box_ignored"]) == (2 - absent, 0 if absent or kept else 1)


@pytest.mark.parametrize(
    "points", [POINTS[:-6], POINTS + ";1;2", POINTS.replace(".", "x"), POINTS.replace("60.00", "inf"), "1"]
)
def test_bad_landmarks_are_left_out_and_counted(root, points):
    write_lists(root, {"1/a.jpg": 0}, {"2/b.jpg": 1})
    (root / "training.csv").write_text(f"{HEADER}\n{row('1/a.jpg', 0, points=points)}\n")
    assert ingested()["affectnet/1/a.jpg"]["landmarks"] is None
    assert metrics()["notes"]["given"]["landmarks_ignored"] == 1


class Payload:
    """What a pickle can do."""

    def __reduce__(self):
        return Path.touch, (Path("run"),)


def header_of(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"3",
        array(np.array("3"))[:-2],
        array(np.array("3")) + b"\0",
        array(np.array([Payload()], object)),
        pickle.dumps(Payload()),
        header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n"),
        header_of("{'descr': '<U1000000000', 'fortran_order': False, 'shape': ()}\n"),
        header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}\n") + bytes(8),
        header_of("(" * 9_000),
        array(np.zeros(100_000)),
    ],
)
def test_a_file_that_is_no_plain_array_is_listed_and_never_run(root, content):
    write_sets(root, train={"1": 1, "2": 2, "3": 3})
    (root / "train_set/annotations/2_exp.npy").write_bytes(content)
    (root / "train_set/annotations/3_lnd.npy").write_bytes(content)
    (root / "train_set/annotations/1_lnd.npy").unlink()
    rows = ingested()
    assert rows.keys() == {"affectnet/train_set/1", "affectnet/train_set/3"}
    assert rejected() == [("train_set/annotations/2_exp.npy", "0", "bad_annotation")]
    assert metrics()["notes"]["given"] == {"landmarks": 1, "landmarks_ignored": 1}
    assert not Path("run").exists()


def test_what_is_missing_in_the_folders_is_listed_or_counted(root):
    write_sets(root, train={"1": 1, "2": 2, "3": 8, "4": 4, "5": 5})
    (root / "train_set/images/1.jpg").unlink()
    (root / "train_set/annotations/2_exp.npy").unlink()
    (root / "train_set/annotations/4_exp.npy").write_bytes(array(np.array(["4", "5"])))
    (root / "train_set/annotations/._5_exp.npy").write_bytes(b"\0\5\x16\7")
    (root / "train_set/images/._5.jpg").write_bytes(b"\0\5\x16\7")
    assert ingested().keys() == {"affectnet/train_set/5"}
    assert rejected() == [
        ("train_set/annotations/1_exp.npy", "0", "missing_image"),
        ("train_set/annotations/3_exp.npy", "0", "other_expression"),
        ("train_set/annotations/4_exp.npy", "0", "unknown_label"),
    ]
    assert metrics()["notes"]["images_without_row"] == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_lists(root, TRAIN, VALID),
        lambda root: write_sets(root, train=TRAIN_SET, val=VALID_SET),
    ],
)
def test_an_archive_gives_the_same(root, tmp_path, write):
    write(root)
    folder = ingested()
    shutil.copytree(root, root.parent / "__MACOSX/affectnet")
    archive = shutil.make_archive(str(tmp_path / "affectnet"), "zip", root.parent)
    shutil.rmtree(root.parent)
    root.parent.mkdir()
    root.symlink_to(archive)
    assert ingested() == folder


def wrong_tree(root: Path, case: str) -> None:
    root.mkdir(parents=True)
    match case:
        case "lists alone":
            write_lists(root, {}, {})
        case "images alone":
            write_image(root / "Manually_Annotated_Images/1/a.jpg")
        case "both":
            write_lists(root, TRAIN, VALID)
            write_sets(root, train=TRAIN_SET)
        case "no annotations":
            write_image(root / "train_set/images/0.jpg")
        case "no column":
            write_lists(root, TRAIN, VALID)
            (root / "training.csv").write_text("subDirectory_filePath,expression\n1/a.jpg,0\n")
        case "no row":
            write_lists(root, TRAIN, VALID)
            (root / "training.csv").write_text("")
        case "other list":
            write_lists(root, TRAIN, VALID)
            for name in ("training.csv", "validation.csv"):
                (root / name).write_text("image,label\na.jpg,fear\n")


EXPECTED = "expected: training.csv and validation.csv with the images in Manually_Annotated_Images/"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("empty", f"data/raw/affectnet: found nothing; {EXPECTED}"),
        ("lists alone", f"data/raw/affectnet: found training.csv, validation.csv; {EXPECTED}"),
        ("images alone", f"data/raw/affectnet: found Manually_Annotated_Images/; {EXPECTED}"),
        ("both", "found Manually_Annotated_Images/, train_set/, training.csv, validation.csv; expected: "),
        ("no annotations", f"found train_set/; {EXPECTED}"),
        (
            "no column",
            "training.csv: found no column face_x, face_y, face_width, face_height, facial_landmarks, ",
        ),
        ("no row", "training.csv: found an empty file, expected: a header with subDirectory_filePath, "),
        (
            "other list",
            "found no usable record: rejected bad_row 4; the first: validation.csv, row 1: found 2 cells",
        ),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(root, case, message):
    wrong_tree(root, case)
    with pytest.raises(UserError) as error:
        ingest.run(toy.PARAMS, "affectnet")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


CELL = st.sampled_from(
    ["1/a.jpg", "0", "10", "-3", "nan", "inf", "1e308", "NULL", "8", '"', "\0", POINTS, "1;2"]
)
ROW = st.lists(CELL | st.text(max_size=4), min_size=7, max_size=10).map(",".join)
TEXT = st.builds(
    lambda header, rows: "\n".join(header + rows), st.sampled_from([[], [HEADER]]), st.lists(ROW, max_size=5)
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
def test_no_list_breaks_the_reader(tmp_path, content):
    folder = tmp_path / "affectnet"
    if not folder.exists():
        write_lists(folder, {"1/a.jpg": 0}, {})
    (folder / "training.csv").write_bytes(content)
    (folder / "validation.csv").write_bytes(content)
    assert "\n" not in toy.answer(affectnet.records, folder)


ARRAY = st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=80).map(lambda data: array(np.array("3"))[:10] + data),
    st.text(max_size=60).map(header_of),
    st.sampled_from(
        [np.array("9"), landmarks(), np.full(136, np.inf), np.zeros(136, complex), np.zeros(0)]
    ).map(array),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(label=ARRAY, points=ARRAY)
def test_no_array_breaks_the_reader(tmp_path, label, points):
    folder = tmp_path / "affectnet"
    if not folder.exists():
        write_sets(folder, train={"0": 0})
    (folder / "train_set/annotations/0_exp.npy").write_bytes(label)
    (folder / "train_set/annotations/0_lnd.npy").write_bytes(points)
    assert toy.answer(affectnet.records, folder) == ""
