"""Data sets in WebDataset's form: tar files, or one tar file's files, with an image and a label for each sample."""

from __future__ import annotations

import csv
import io
import json
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.core.parallel import ordered
from pipeline.datasets import webdataset
from pipeline.intake.names import Names, UnknownNames
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from pipeline.tables.schema import DRAW
from tests import toy


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def shard(path: Path, files: dict[str, bytes | str]) -> None:
    """Write a tar file as WebDataset's `TarWriter` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def raw(project) -> Path:
    return project / "data/raw/webdataset"


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "webdataset")
    rows = pq.read_table("data/ingested/webdataset.parquet").to_pylist()
    return {row["id"].removeprefix("webdataset/"): row for row in rows}


def rejected() -> list[tuple[str, int, str]]:
    with open("data/ingested/webdataset.rejected.csv", newline="") as file:
        return [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


FACE = {"emotion": "Sad", "subject": "ann", "xmin": 1, "ymin": 2, "xmax": 8, "ymax": 9}


def test_samples_of_several_shards(raw):
    shard(
        raw / "train-000000.tar",
        {"a/1.png": png(1), "a/1.cls": "happy", "a/2.cls": "fear\n", "a/2.PNG": png(2)},
    )
    shard(raw / "train-000001.tar", {"3.face.png": png(3), "3.json": json.dumps(FACE), "3.txt": "smiles"})
    shard(raw / "val/000000.tar", {"4.png": png(4), "4.json": '{"label": "fear"}', "4.cls": "angry"})
    (raw / "README.md").touch()
    rows = ingested()
    assert {name: (row["split"], row["label"], row["image"]) for name, row in rows.items()} == {
        "train-000000/a/1": ("train", "happiness", png(1)),
        "train-000000/a/2": ("train", "fear", png(2)),
        "train-000001/3": ("train", "sadness", png(3)),
        "val/000000/4": ("valid", "anger", png(4)),
    }
    third = rows["train-000001/3"]
    assert (third["group"], third["box"], third["source"]) == ("ann", [1, 2, 8, 9], "train-000001.tar, row 1")
    assert pq.read_schema("data/ingested/webdataset.parquet").metadata[DRAW] == b"test"
    assert json.loads(Path("metrics/ingest/webdataset.json").read_text())["notes"]["not_used"] == {"txt": 1}
    assert rejected() == [("README.md", 0, "not_read")]


def test_a_bad_sample_costs_itself_alone(raw):
    files = {
        "1.png": png(1), "1.cls": "happy",
        "2.png": png(2),
        "3.cls": "sad",
        "4.png": png(4), "4.jpg": png(4), "4.cls": "sad",
        "5.png": b"no image", "5.cls": "sad",
        "6.png": png(6), "6.json": "[1]",
        "7.png": png(7), "7.cls": "puzzled",
        "8.png": png(8), "8.cls": "sad" * 40_000,
        "nothing": b"x",
        "10.png": png(10), "10.PNG": png(11), "10.cls": "sad",
        "._1.png": b"of a Mac",
    }  # fmt: skip
    shard(raw / "a.tar", files)
    shard(raw / "b.tar", {"9.png": png(9), "9.cls": "fear"})
    assert list(ingested()) == ["a/1", "b/9"]
    assert rejected() == [
        ("a.tar", 2, "no_label"),
        ("a.tar", 3, "missing_image"),
        ("a.tar", 4, "ambiguous_image"),
        ("a.tar", 5, "unreadable_image"),
        ("a.tar", 6, "bad_row"),
        ("a.tar", 7, "unknown_label"),
        ("a.tar", 8, "bad_annotation"),
        ("a.tar", 9, "missing_image"),
        ("a.tar", 10, "ambiguous_image"),
    ]


@pytest.mark.parametrize("name", ["test-000000.tar", "shard.tar"])
def test_a_single_shard_is_read_as_its_members(raw, name):
    shard(
        raw / name,
        {"1.png": png(1), "1.cls": "happy", "sub/2.cls": "sad", "sub/2.png": png(2), "3.cls": "sad"},
    )
    rows = ingested()
    split = "test" if "test" in name else None
    assert {k: (row["split"], row["label"], row["image"]) for k, row in rows.items()} == {
        "1": (split, "happiness", png(1)),
        "sub/2": (split, "sadness", png(2)),
    }
    assert rejected() == [("3.cls", 0, "missing_image")]


def test_an_unpacked_shard_is_read_and_what_is_no_sample_is_named(raw):
    for name, data in {
        "train/1.png": png(1),
        "train/1.cls": b"3",
        "info.json": b"{}",
        "2.png": png(2),
    }.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(data)
    listing = webdataset.records(open_tree(raw), Options(Names({"3": "happiness"})))
    assert [(r["name"], r["split"], r["label"]) for r in toy.listed(listing)] == [
        ("train/1", "train", "happiness")
    ]
    assert [(row.file, row.reason) for row in listing.rejected] == [("2.png", "no_label")]


def test_numbers_without_names_are_asked_for(raw):
    shard(raw / "a.tar", {"1.png": png(1), "1.cls": "0", "2.png": png(2), "2.cls": "6"})
    shard(raw / "b.tar", {})
    with pytest.raises(UnknownNames) as asked:
        ingested()
    assert asked.value.names == ("0", "6")


def test_a_test_set_whose_labels_are_secret_is_no_mistake(raw):
    shard(raw / "train.tar", {"1.png": png(1), "1.cls": "fear"})
    shard(raw / "test.tar", {f"{n}.png": png(n) for n in range(5)})
    ingest.run(toy.SHIPPED, "webdataset")  # stops at a tenth of the records
    assert {reason for _, _, reason in rejected()} == {"no_label"}


def test_images_are_read_by_several_processes_at_once(tmp_path):
    images = [png(n) for n in range(60)]
    for name in ("a.tar", "b.tar"):
        shard(
            tmp_path / name,
            {f"{n:02d}.{end}": d for n, p in enumerate(images) for end, d in (("png", p), ("cls", "sad"))},
        )
    listing = webdataset.records(open_tree(tmp_path), Options())
    places = [record["place"] for record in toy.listed(listing)]
    for read in (listing.read, pickle.loads(pickle.dumps(listing.read))):
        read(places[0])  # opened before they are forked, who must not share its position
        assert list(ordered(read, places, workers=3)) == images * 2


def test_a_damaged_shard_stops_in_one_line(raw):
    shard(raw / "a.tar", {"1.png": png(1), "1.cls": "fear"})
    shard(raw / "b.tar", {"1.png": png(1), "1.cls": "fear"})
    data = (raw / "b.tar").read_bytes()
    (raw / "b.tar").write_bytes(data[:700])
    with pytest.raises(UserError, match=r"data/raw/webdataset/b\.tar: damaged or cut short: ") as error:
        ingested()
    assert "\n" not in str(error.value)


def test_a_link_in_a_shard_is_no_image(raw):
    raw.mkdir(parents=True)
    with tarfile.open(raw / "a.tar", "w") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    shard(raw / "b.tar", {"1.png": png(1), "1.cls": "fear"})
    with tarfile.open(raw / "a.tar", "a") as archive:
        member = tarfile.TarInfo("1.cls")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"sad"))
    assert list(ingested()) == ["b/1"]
    assert rejected() == [("a.tar", 1, "unreadable_image")]


@pytest.mark.parametrize(
    "names", [(), ("a.png", "labels.json"), ("happy/a.png",), ("a-000000.tar.gz", "b.tar.gz")]
)
def test_a_wrong_tree_is_answered_with_the_expected_one(raw, names):
    raw.mkdir(parents=True)
    for name in names:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"expected: tar files such as train-000000\.tar, with the image"):
        ingested()
