"""CK+ in both published forms, as small generated trees."""

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
from pipeline.datasets import ckplus
from pipeline.stages import ingest
from tests import toy

# The published codes, and the folders of CK+48.
NAMES = ["neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]
FOLDERS = {
    "anger": "anger",
    "contempt": "contempt",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sadness": "sadness",
    "surprise": "surprise",
}
# Sequence: number of frames, code of its label.
SEQUENCES = {
    "S005/001": (11, 3),
    "S010/004": (5, 7),
    "S010/006": (4, 5),
    "S011/001": (9, None),
    "S022/002": (3, 1),
    "S046/001": (6, 6),
    "S050/001": (7, 4),
    "S138/008": (6, 2),
}
USED = {
    "S005/001": 3,
    "S010/004": 3,
    "S010/006": 3,
    "S022/002": 2,
    "S046/001": 3,
    "S050/001": 3,
    "S138/008": 3,
}


def write_image(path: Path, side: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int("".join(filter(str.isdigit, path.stem)))
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def frame(sequence: str, number: int) -> str:
    return f"{sequence.replace('/', '_')}_{number:08d}"


def write_sequences(root: Path) -> None:
    for sequence, (frames, code) in SEQUENCES.items():
        for number in range(1, frames + 1):
            write_image(root / "cohn-kanade-images" / sequence / f"{frame(sequence, number)}.png")
        folder = root / "Emotion" / sequence
        folder.mkdir(parents=True)
        if code is not None:
            (folder / f"{frame(sequence, frames)}_emotion.txt").write_text(f"   {code:.7e}\n")


def write_folders(root: Path) -> None:
    for subject, folder in enumerate(FOLDERS, 10):
        for number in (15, 16, 17):
            write_image(root / folder / f"S{subject:03d}_004_{number:08d}.png")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path("data/raw/ckplus")


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "ckplus")
    return {row["id"]: row for row in pq.read_table("data/ingested/ckplus.parquet").to_pylist()}


def rejected() -> list[tuple[str, str, str]]:
    with open("data/ingested/ckplus.rejected.csv", newline="") as file:
        return [
            (row["file"], row["row"], row["reason"])
            for row in csv.DictReader(file)
            if row["reason"] != "not_read"
        ]


def metrics() -> dict:
    return json.loads(Path("metrics/ingest/ckplus.json").read_text())


def test_the_last_three_frames_of_a_labelled_sequence_are_records(root):
    write_sequences(root)
    rows = ingested()
    assert {row: (value["label"], value["group"], value["split"]) for row, value in rows.items()} == {
        f"ckplus/{frame(sequence, frames - i)}": (NAMES[code], sequence[:4], None)
        for sequence, (frames, code) in SEQUENCES.items()
        for i in range(USED.get(sequence, 0))
    }
    assert rejected() == [("cohn-kanade-images/S011/001", "0", "no_label")]
    labelled = sum(frames for frames, code in SEQUENCES.values() if code is not None)
    assert metrics()["notes"] == {"frames_not_used": labelled - 20}
    assert pq.read_schema("data/ingested/ckplus.parquet").metadata[b"draw"] == b"valid,test"
    assert rows["ckplus/S005_001_00000011"]["source"] == ("cohn-kanade-images/S005/001/S005_001_00000011.png")


@pytest.mark.parametrize("inner", ["", "CK+48"])
def test_the_small_images_are_labelled_by_their_folder(root, inner):
    write_folders(root / inner)
    rows = ingested()
    assert {row: (value["label"], value["group"], value["split"]) for row, value in rows.items()} == {
        f"ckplus/S{subject:03d}_004_{number:08d}": (name, f"S{subject:03d}", None)
        for subject, name in enumerate(FOLDERS.values(), 10)
        for number in (15, 16, 17)
    }
    assert rejected() == []


def test_both_forms_give_an_image_the_same_id(root):
    write_sequences(root)
    write_folders(root / "CK+48")
    assert len(ingested()) == 20
    shutil.rmtree(root / "Emotion")
    assert len(ingested()) == 21


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "unknown_label"),
        (b"8.0", "unknown_label"),
        (b"2.5", "unknown_label"),
        (b"nan", "unknown_label"),
        (b"-1", "unknown_label"),
        (b"happy", "unknown_label"),
        (b"\xff\xfe3", "unknown_label"),
        (b"3.0 3.0", "unknown_label"),
    ],
)
def test_a_bad_label_costs_its_sequence_alone(root, text, reason):
    write_sequences(root)
    (root / "Emotion/S005/001" / f"{frame('S005/001', 11)}_emotion.txt").write_bytes(text)
    assert len(ingested()) == 17
    assert ("cohn-kanade-images/S005/001", "0", reason) in rejected()
    assert len(rejected()) == 2


def test_what_else_can_be_wrong_with_a_sequence_is_listed(root):
    write_sequences(root)
    images, labels = root / "cohn-kanade-images", root / "Emotion"
    (labels / "S010/004/S010_004_00000004_emotion.txt").write_text("3.0")
    (labels / "S010/006/S010_006_00000003_emotion.txt").write_text("5.0")  # the same again
    shutil.rmtree(images / "S022")
    for path in sorted((images / "S046/001").iterdir())[1:]:
        path.unlink()
    (images / "S050/001/S050_001_00000007.png").write_text("no image")
    write_image(images / "S138/008/copy 2.png")
    assert len(ingested()) == 3 + 3 + 2 + 3
    assert rejected() == [
        ("cohn-kanade-images/S010/004", "0", "contradicting_label"),
        ("cohn-kanade-images/S011/001", "0", "no_label"),
        ("cohn-kanade-images/S022/002", "0", "missing_image"),
        ("cohn-kanade-images/S046/001", "0", "too_few_frames"),
        ("cohn-kanade-images/S050/001/S050_001_00000007.png", "0", "unreadable_image"),
        ("cohn-kanade-images/S138/008/copy 2.png", "0", "bad_image_name"),
    ]


def test_bad_images_of_the_folders_are_listed(root):
    write_folders(root)
    write_image(root / "other/S099_004_00000001.png")
    write_image(root / "happy/1.png")
    write_image(root / "sadness/S010_004_00000015.png")
    assert len(ingested()) == 21
    assert rejected() == [
        ("happy/1.png", "0", "bad_image_name"),
        ("other/S099_004_00000001.png", "0", "unknown_label"),
        ("sadness/S010_004_00000015.png", "0", "duplicate_name"),
    ]


@pytest.mark.parametrize("write", [write_sequences, write_folders])
def test_an_archive_with_a_macs_files_gives_the_same(root, tmp_path, write):
    write(root)
    folder, listed = ingested(), rejected()
    for path in list(root.rglob("*.png"))[:5]:
        (path.parent / ".DS_Store").write_bytes(b"\0")
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    shutil.copytree(root, root.parent / "__MACOSX/ckplus")
    assert (ingested(), rejected()) == (folder, listed)
    archive = shutil.make_archive(str(tmp_path / "ckplus"), "gztar", root.parent)
    shutil.rmtree(root.parent)
    root.parent.mkdir()
    root.symlink_to(archive)
    assert (ingested(), rejected()) == (folder, listed)


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        ((), "nothing"),
        (("cohn-kanade-images/S005/001",), "cohn-kanade-images/"),
        (("Emotion/S005/001", "Landmarks"), "Emotion/, Landmarks/"),
        (("CK+48/x",), "CK+48/"),
        (("train/anger",), "train/"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(root, folders, found):
    root.mkdir(parents=True)
    for name in folders:
        (root / name).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        ingest.run(toy.PARAMS, "ckplus")
    expected = (
        f"data/raw/ckplus: found {found}; expected: cohn-kanade-images/ and Emotion/ with folders S005/001/"
    )
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.binary(max_size=30) | st.text(max_size=10).map(str.encode) | st.floats().map(lambda x: b"%r" % x)
)
def test_no_file_breaks_the_reader(tmp_path, text):
    folder, labels = tmp_path / "ckplus", tmp_path / "ckplus/Emotion/S005/001"
    labels.mkdir(parents=True, exist_ok=True)
    write_image(folder / "cohn-kanade-images/S005/001/S005_001_00000002.png")
    (labels / "S005_001_00000002_emotion.txt").write_bytes(text)
    assert toy.answer(ckplus.records, folder) == ""
