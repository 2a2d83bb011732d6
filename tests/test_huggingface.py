"""Data sets as the Hugging Face Hub has them: Parquet files with images, and images with metadata."""

from __future__ import annotations

import csv
import json
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.datasets import huggingface, listed
from pipeline.intake import image_shards
from pipeline.intake.names import Names, UnknownNames
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from pipeline.tables.schema import DRAW
from tests import toy

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = ["angry", "happy", "sad"]


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def metadata(**names: list[str]) -> dict[bytes, bytes]:
    """What the library `datasets` writes about columns of classes."""
    features = {column: {"names": classes, "_type": "ClassLabel"} for column, classes in names.items()}
    return {
        b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}}).encode()
    }


def write(
    path: Path, labels: list[Any] | pa.Array, first: int = 0, group_size: int = 4, **columns: Any
) -> list[bytes]:
    """Write a Parquet file as `datasets` does; return its images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [png(first + number) for number in range(len(labels))]
    image = pa.array([{"bytes": file, "path": f"{n}.png"} for n, file in enumerate(files)], IMAGE)
    table = pa.table({"image": image, "label": labels, **columns})
    pq.write_table(table.replace_schema_metadata(metadata(label=CLASSES)), path, row_group_size=group_size)
    return files


@pytest.fixture
def raw(project) -> Path:
    return project / "data/raw/huggingface"


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "huggingface")
    rows = pq.read_table("data/ingested/huggingface.parquet").to_pylist()
    return {row["id"].removeprefix("huggingface/"): row for row in rows}


def rejected() -> list[tuple[str, int, str]]:
    with open("data/ingested/huggingface.rejected.csv", newline="") as file:
        return [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


def test_rows_have_the_names_of_their_classes_and_the_splits_of_their_files(raw):
    train = write(raw / "data/train-00000-of-00002.parquet", [0, 1, 2, 1, 0, 2, 1])
    more = write(raw / "data/train-00001-of-00002.parquet", [2], first=7)
    test = write(raw / "data/test-00000-of-00001-47c11c02057f1c0f.parquet", [1, 0], first=8)
    (raw / "README.md").write_text("---\n")
    rows = ingested()
    assert {name: (row["split"], row["label"], row["image"]) for name, row in rows.items()} == {
        **{
            f"data/train-00000-of-00002/{n:07d}": ("train", label, train[n])
            for n, label in enumerate(
                ["anger", "happiness", "sadness", "happiness", "anger", "sadness", "happiness"]
            )
        },
        "data/train-00001-of-00002/0000000": ("train", "sadness", more[0]),
        "data/test-00000-of-00001-47c11c02057f1c0f/0000000": ("test", "happiness", test[0]),
        "data/test-00000-of-00001-47c11c02057f1c0f/0000001": ("test", "anger", test[1]),
    }
    assert rows["data/train-00000-of-00002/0000006"]["source"] == "data/train-00000-of-00002.parquet, row 7"
    assert pq.read_schema("data/ingested/huggingface.parquet").metadata[DRAW] == b"valid"
    assert rejected() == [("README.md", 0, "not_read")]


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("default/validation/0000.parquet", "valid"),
        ("fer-test-00000-of-00001.parquet", "test"),
        ("data/PublicTest-00000-of-00001.parquet", "valid"),
        ("part.0.parquet", None),
        ("train_and_test.parquet", None),
    ],
)
def test_the_split_is_in_the_name_of_a_file_or_folder(tmp_path, place, split):
    write(tmp_path / place, [0])
    listing, _ = listed("huggingface", open_tree(tmp_path), Options())
    assert [record["split"] for record in toy.listed(listing)] == [split]


def test_other_columns_and_other_types(raw):
    raw.mkdir(parents=True)
    columns = {
        "Photo": pa.array([png(0), png(1), png(2), png(3)], pa.large_binary()),
        "Emotion": pa.array(["Happy", "SAD", "happy", None]).dictionary_encode(),
        "subject": pa.array([7, 8, None, 8]),
        "usage": ["Training", "PrivateTest", None, "nowhere"],
        **{name: pa.array([value, None, value, value]) for name, value in zip(
            ("xmin", "ymin", "xmax", "ymax"), (1, 2.0, 8, 8), strict=True
        )},
    }  # fmt: skip
    pq.write_table(pa.table(columns), raw / "faces.parquet")
    rows = ingested()
    assert [(r["label"], r["group"], r["split"], r["box"]) for r in rows.values()] == [
        ("happiness", "7", "train", [1, 2, 8, 8]),
        ("sadness", "8", "test", None),
        ("happiness", None, None, [1, 2, 8, 8]),
    ]
    assert rejected() == [("faces.parquet", 4, "bad_split")]


def test_a_bad_row_costs_itself_alone(raw):
    write(raw / "train.parquet", pa.array([0, None, 7, -1, 1], pa.int64()))
    table = pq.read_table(raw / "train.parquet")
    images = table["image"].to_pylist()
    images[0]["bytes"], images[4]["bytes"] = b"no image", None
    write(raw / "valid.parquet", [1])
    pq.write_table(table.set_column(0, "image", pa.array(images, IMAGE)), raw / "train.parquet")
    assert list(ingested()) == ["valid/0000000"]
    assert rejected() == [
        ("train.parquet", 1, "unreadable_image"),
        ("train.parquet", 2, "no_label"),
        ("train.parquet", 3, "unknown_label"),
        ("train.parquet", 4, "no_label"),
        ("train.parquet", 5, "missing_image"),
    ]


def test_a_test_set_whose_labels_are_secret_is_no_mistake(raw):
    write(raw / "train.parquet", [0, 1])
    write(raw / "test.parquet", [-1, -1, -1])
    pq.write_table(pa.table({"image": [png(9)]}), raw / "dev.parquet")
    ingest.run(toy.SHIPPED, "huggingface")  # stops at a tenth of the records
    reasons = json.loads(Path("metrics/ingest/huggingface.json").read_text())["rejected"]
    assert reasons == {"no_label": 4}


def test_numbers_without_names_are_asked_for(raw):
    raw.mkdir(parents=True)
    pq.write_table(pa.table({"image": [png(0), png(1)], "label": [3, 4]}), raw / "train.parquet")
    with pytest.raises(UnknownNames) as asked:
        ingested()
    assert asked.value.names == ("3", "4")
    options = Options(Names({"3": "happiness", "4": "sadness"}))
    listing = huggingface.records(open_tree(raw), options)
    assert [record["label"] for record in toy.listed(listing)] == ["happiness", "sadness"]
    assert options.names.seen == {("3", "happiness"): 1, ("4", "sadness"): 1}


def test_every_image_is_read_from_any_process_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(image_shards, "_ROWS", 3)
    for split, first in (("train", 0), ("test", 50)):
        write(tmp_path / f"{split}.parquet", [0] * 20, first=first, group_size=8)
    listing = huggingface.records(open_tree(tmp_path), Options())
    records = toy.listed(listing)
    expected = [png(50 + n) for n in range(20)] + [png(n) for n in range(20)]
    order = np.random.default_rng(0).permutation(40)
    for reader in (listing.read, pickle.loads(pickle.dumps(listing.read))):
        assert [reader(record["place"]) for record in records] == expected
        assert [reader(records[row]["place"]) for row in order] == [expected[row] for row in order]
    calls = []
    monkeypatch.setattr(image_shards, "open_parquet", lambda *a: calls.append(a) or open_parquet(*a))
    for record in records:
        listing.read(record["place"])
    assert len(calls) == 6, "once for each row group"


open_parquet = image_shards.open_parquet


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_gives_the_same(raw, tmp_path, kind):
    write(raw / "data/train-00000-of-00001.parquet", [0, 1, 2, 1, 0, 2, 1])
    write(raw / "data/test-00000-of-00001.parquet", [0], first=9)
    (raw / "README.md").touch()
    folder = ingested()
    archive = shutil.make_archive(str(tmp_path / "set"), kind, raw)
    shutil.rmtree(raw)
    raw.symlink_to(archive)
    assert ingested() == folder


def test_a_damaged_row_group_costs_its_images_alone(raw):
    write(raw / "train.parquet", [0] * 12, group_size=4)
    file = pq.ParquetFile(raw / "train.parquet")
    column = file.metadata.row_group(1).column(0)
    data = bytearray((raw / "train.parquet").read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = bytes(40)
    (raw / "train.parquet").write_bytes(data)
    rows = ingested()
    assert set(rows) >= {f"train/{n:07d}" for n in (0, 1, 2, 3, 8, 9, 10, 11)}
    assert len(rows) + len(rejected()) == 12
    assert {reason for _, _, reason in rejected()} == {"unreadable_image"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "a pointer of Git LFS; `git lfs pull`",
        ),
        (b"PAR1 torn", "cannot be read as Parquet: "),
        (b"", "cannot be read as Parquet: "),
    ],
)
def test_what_is_no_parquet_file_stops_in_one_line(raw, content, message):
    raw.mkdir(parents=True)
    (raw / "train.parquet").write_bytes(content)
    (raw / "README.md").touch()
    with pytest.raises(UserError) as error:
        ingested()
    assert f"data/raw/huggingface/train.parquet: {'found ' * (content[:1] == b'v')}{message}" in str(
        error.value
    )
    assert "\n" not in str(error.value)


def not_utf8(*texts: bytes) -> pa.Array:
    """Return a column of text whose bytes nobody has checked."""
    return pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())


def test_missing_numbers_are_no_people_and_no_groups(raw):
    people = [3.0, None, 4.0]
    write(raw / "train.parquet", ["happy", "sad", "sad"], subject=people, age=[np.nan, 20.0, 20.5])
    write(raw / "test.parquet", ["happy"], first=3, subject=[3])
    rows = ingested()
    assert [row["group"] for row in rows.values()] == ["3", "3", None, "4"]
    assert [dict(row["attributes"] or ()) for row in rows.values()] == [
        {},
        {},
        {"age": "20"},
        {"age": "20.5"},
    ]


def test_text_that_is_no_utf8_stops_in_one_line(raw):
    write(raw / "train.parquet", not_utf8(b"happy", b"\xff"))
    with pytest.raises(UserError) as error:
        ingested()
    assert str(error.value).startswith(
        "data/raw/huggingface/train.parquet: cannot be read as Parquet: 'utf-8'"
    )
    assert "\n" not in str(error.value)


def test_a_column_that_is_there_twice_stops_in_one_line(raw):
    write(raw / "train.parquet", ["happy"])
    table = pq.read_table(raw / "train.parquet")
    pq.write_table(table.append_column("label", table["label"]), raw / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet: found the column label more than once"):
        ingested()


def test_a_file_that_claims_absurdly_many_rows_is_refused(raw):
    raw.mkdir(parents=True)
    image = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(10**6, np.int32)), pa.array([png(0)], pa.binary())
    )
    pq.write_table(
        pa.table({"image": image, "label": ["happy"] * 10**6}), raw / "train.parquet", compression="zstd"
    )
    with pytest.raises(
        UserError, match=r"train\.parquet: found 1,000,000 rows, allowed: one for each of its"
    ):
        ingested()


def test_a_file_without_images_is_listed(raw):
    write(raw / "train.parquet", [0])
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), raw / "texts.parquet")
    assert list(ingested()) == ["train/0000000"]
    assert rejected() == [("texts.parquet", 0, "no_images")]


def test_a_snapshot_in_the_cache_of_hugging_face_is_read(raw, tmp_path):
    cache = tmp_path / "hub/datasets--a--b"
    snapshot = cache / "snapshots/0123"
    for split, blob in (("train", "a" * 64), ("test", "b" * 64)):
        write(cache / "blobs" / blob, [0, 1])
        (snapshot / "data").mkdir(parents=True, exist_ok=True)
        (snapshot / f"data/{split}-00000-of-00001.parquet").symlink_to(f"../../../blobs/{blob}")
    raw.parent.mkdir(parents=True)
    raw.symlink_to(snapshot)
    assert Counter(row["split"] for row in ingested().values()) == {"train": 2, "test": 2}
    raw.unlink()
    raw.symlink_to(cache)
    with pytest.raises(
        UserError, match=r"found blobs/, snapshots/; expected: one of the folders in snapshots/"
    ):
        ingested()


def test_images_with_metadata_in_the_cache_are_read_through_their_links(raw, tmp_path):
    snapshot, blobs = tmp_path / "hub/x/snapshots/1", tmp_path / "hub/x/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / ("c" * 40)).write_bytes(png(3))
    (blobs / ("d" * 40)).write_text("file_name,label\na.png,sad\n")
    (snapshot / "a.png").symlink_to(f"../../blobs/{'c' * 40}")
    (snapshot / "metadata.csv").symlink_to(f"../../blobs/{'d' * 40}")
    raw.parent.mkdir(parents=True)
    raw.symlink_to(snapshot)
    assert [row["image"] for row in ingested().values()] == [png(3)]


# ------------------------------------------------------------------------------------------------------ metadata


def lay(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))


def test_metadata_in_each_split(raw):
    lay(raw, "train/a.png", "train/sub/b.png", "validation/a.png", "validation/c.png")
    (raw / "train/metadata.csv").write_text("file_name,label\na.png,happy\nsub\\b.png,SAD\nabsent.png,sad\n")
    lines = [
        {"file_name": "a.png", "emotion": "fear"},
        {"file_name": "../train/a.png", "emotion": "fear"},
        [1],
    ]
    (raw / "validation/metadata.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + "{torn\n"
    )
    rows = ingested()
    assert {name: (row["split"], row["label"]) for name, row in rows.items()} == {
        "train/a.png": ("train", "happiness"),
        "train/sub/b.png": ("train", "sadness"),
        "validation/a.png": ("valid", "fear"),
    }
    assert rejected() == [
        ("train/metadata.csv", 4, "missing_image"),
        ("validation/metadata.jsonl", 2, "outside_folder"),
        ("validation/metadata.jsonl", 3, "bad_row"),
        ("validation/metadata.jsonl", 4, "bad_row"),
        ("validation/c.png", 0, "not_read"),
    ]
    assert pq.read_schema("data/ingested/huggingface.parquet").metadata[DRAW] == b"test"


@pytest.mark.parametrize("test", ["file_name\na.png\n", "file_name,label\na.png,-1\n"])
def test_metadata_of_a_test_set_whose_labels_are_secret_are_no_mistake(raw, test):
    lay(raw, "train/a.png", "test/a.png")
    (raw / "train/metadata.csv").write_text("file_name,label\na.png,happy\n")
    (raw / "test/metadata.csv").write_text(test)
    assert list(ingested()) == ["train/a.png"]
    assert rejected() == [("test/metadata.csv", 2, "no_label")]


def test_metadata_without_any_label_stop_in_one_line(raw):
    lay(raw, "a.png")
    (raw / "metadata.csv").write_text("file_name,feeling\na.png,happy\n")
    with pytest.raises(
        UserError, match=r"metadata\.csv: found no label in any row, expected: file_name and label"
    ):
        ingested()


def test_metadata_at_the_top_names_images_in_folders_of_splits(raw):
    lay(raw, "train/a.png", "test/b.png")
    lines = [
        {"file_name": "train/a.png", "label": "happy", "x1": 0, "y1": 0, "x2": 4, "y2": 9, "person": "ann"},
        {"file_name": "train/a.png", "label": "sad", "x1": 4, "y1": 0, "x2": 9, "y2": 9, "note": {"a": 1}},
        {"file_name": "test/b.png", "label": "fear"},
    ]
    (raw / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = ingested()
    assert {name: (row["split"], row["label"], row["box"]) for name, row in rows.items()} == {
        "test/b.png": ("test", "fear", None),
        "train/a.png#0,0,4,9": ("train", "happiness", [0, 0, 4, 9]),
        "train/a.png#4,0,9,9": ("train", "sadness", [4, 0, 9, 9]),
    }
    assert rows["train/a.png#0,0,4,9"]["group"] == "ann"


def test_metadata_in_parquet_are_no_images(raw):
    lay(raw, "a.png")
    pq.write_table(pa.table({"file_name": ["a.png"], "label": ["happy"]}), raw / "metadata.parquet")
    assert [row["label"] for row in ingested().values()] == ["happiness"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "found nothing; expected: Parquet files with images"),
        (("train/happy/a.png", "test/happy/b.png"), "folders named after classes are the data set folder"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(raw, names, message):
    raw.mkdir(parents=True)
    lay(raw, *names)
    with pytest.raises(UserError, match=message):
        ingested()


@pytest.mark.parametrize("columns", [{"image": [b"1"]}, {"image": [b"1"], "other": [1]}])
def test_a_set_without_labels_is_answered_with_the_expected_column(raw, columns):
    raw.mkdir(parents=True)
    pq.write_table(pa.table(columns), raw / "train.parquet")
    with pytest.raises(
        UserError, match=r"train\.parquet: found the columns image.*, expected: one named label"
    ):
        ingested()


VALUE = (
    st.none() | st.integers(-3, 9) | st.text(max_size=3) | st.floats() | st.lists(st.integers(), max_size=2)
)
LINE = st.dictionaries(st.sampled_from(["file_name", "label", "x1", "y1", "x2", "y2", "é"]), VALUE).map(
    json.dumps
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE | st.text(max_size=9), max_size=6))
def test_no_metadata_break_the_reader(tmp_path, lines):
    text = "\n".join(line.replace("\n", "").replace("\r", "") for line in lines)
    (tmp_path / "metadata.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
    (tmp_path / "0").touch()
    assert "\n" not in toy.answer(huggingface.records, tmp_path, Options())


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["data/train-00000-of-00002.parquet"], "data/train: found 1 of 2 parts, expected: all"),
        (
            ["a/train/0.parquet", "b/test/0.parquet"],
            "found Parquet files in a/, b/, allowed: one configuration",
        ),
    ],
)
def test_a_data_set_of_which_parts_are_missing_or_that_is_two_is_refused(raw, places, message):
    for place in places:
        write(raw / place, [0, 1])
    with pytest.raises(UserError, match=re.escape(message)):
        ingest.run(toy.PARAMS, "huggingface")
