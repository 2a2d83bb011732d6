"""FER+ in its published forms: the counts of the real files, and small trees for what the real ones lack."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.datasets import ferplus
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.stages import ingest
from pipeline.tables.vocabulary import VOTES
from tests import toy

SHARED = Path(os.environ.get("FER_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "ferplus"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs FER+ in {SHARED}")

NEUTRAL, SAD, NF = "8,0,0,2,0,0,0,0,0,0", "0,0,0,9,1,0,0,0,0,0", "0,0,0,0,0,0,0,0,0,10"
HEADER = "Usage,Image name," + ",".join(VOTES)
# Names drift away from the row numbers, as in the published file: rows 3 and 4 are fer0000001 and fer0000007.
NEW = (
    f"Training,fer0000000.png,{NEUTRAL}",
    f"Training,,{NF}",
    f"Training,fer0000001.png,{SAD}",
    f"PublicTest,fer0000007.png,{SAD}",
    f"PrivateTest,fer0000009.png,{NEUTRAL}",
)


def face(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


def write_new(root: Path, *rows: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013new.csv").write_text("\n".join((HEADER, *rows)) + "\n")


def write_pixels(root: Path, rows: tuple[str, ...], name: str = "fer2013.csv", space: str = "") -> None:
    header = f"emotion,{space}pixels,{space}Usage" if not space else f"emotion,{space}Usage,{space}pixels"
    lines = [header]
    for index, row in enumerate(rows):
        usage, pixels = row.split(",")[0], " ".join(map(str, face(index).ravel()))
        lines.append(f"6,{usage},{pixels}" if space else f"6,{pixels},{usage}")
    (root / name).write_text("\n".join(lines) + "\n")


def write_folder(root: Path, folder: str, labels: dict[str, str]) -> None:
    (root / folder).mkdir(parents=True)
    lines = [f'{name},"(0, 0, 48, 48)",{votes}' for name, votes in labels.items()]
    (root / folder / "label.csv").write_text("\n".join(lines) + "\n")
    for name in labels:
        cv2.imwrite(str(root / folder / name), face(int(name[3:10]) + 100))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path("data/raw/ferplus")


def ingested() -> dict[str, dict]:
    ingest.run(toy.PARAMS, "ferplus")
    return {row["id"]: row for row in pq.read_table("data/ingested/ferplus.parquet").to_pylist()}


def rejected() -> list[tuple[str, str, str]]:
    with open("data/ingested/ferplus.rejected.csv", newline="") as file:
        return [
            (row["file"], row["row"], row["reason"])
            for row in csv.DictReader(file)
            if row["reason"] != "not_read"
        ]


def metrics() -> dict:
    return json.loads(Path("metrics/ingest/ferplus.json").read_text())


def pixels_of(row: dict) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_UNCHANGED)


@real
def test_the_real_files_give_the_published_counts():
    listing = ferplus.records(open_tree(SHARED), Options())
    records = toy.listed(listing)
    assert len(records) + len(listing.rejected) == 35_887
    assert Counter(row.reason for row in listing.rejected) == {"no_image_name": 173, "duplicate_name": 1}
    assert listing.notes["disagreements_with_label_csv"] == {"train": 1_073, "valid": 246, "test": 283}
    assert listing.notes["images_without_row"] == 0
    assert Counter(record["split"] for record in records) == {
        "train": 28_561,
        "valid": 3_579,
        "test": 3_573,
    }
    assert len({record["name"] for record in records}) == len(records)
    images = {(record["split"], record["name"].split("-")[0]) for record in records}
    assert Counter(split for split, _ in images) == {"train": 28_558, "valid": 3_579, "test": 3_573}
    assert sum(sum(record["votes"]) == 9 for record in records) == 1
    # The fifth named row in which NF is in front is the one that contradicts an earlier row.
    assert sum(record["votes"][9] == max(record["votes"]) for record in records) == 4


@real
def test_real_images_arrive_and_absent_ones_are_listed(root):
    root.mkdir(parents=True)
    (root / "fer2013new.csv").symlink_to(SHARED / "fer2013new.csv")
    (root / "FER2013Valid").symlink_to(SHARED / "FER2013Valid")
    rows = ingested()
    assert len(rows) == 3_579
    assert metrics()["records"] == 35_887
    assert metrics()["rejected"] == {
        "duplicate_name": 1,
        "missing_image": 28_561 + 3_573,
        "no_image_name": 173,
    }
    assert len(rejected()) == 35_887 - 3_579
    some = rows["ferplus/fer0028638"]
    assert some["image"] == (SHARED / "FER2013Valid" / "fer0028638.png").read_bytes()
    assert (some["split"], some["width"], some["height"]) == ("valid", 48, 48)
    assert [some["votes"][name] for name in VOTES] == votes_in(SHARED / "fer2013new.csv", "fer0028638.png")


def votes_in(path: Path, name: str) -> list[int]:
    with path.open(newline="") as file:
        return next(
            [int(row[vote]) for vote in VOTES] for row in csv.DictReader(file) if row["Image name"] == name
        )


@real
def test_label_csv_alone_serves(tmp_path):
    for name in ferplus.FOLDERS.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "label.csv").symlink_to(SHARED / name / "label.csv")
        (tmp_path / name / "fer0000000.png").touch()
    listing = ferplus.records(open_tree(tmp_path), Options())
    records = toy.listed(listing)
    assert Counter(record["split"] for record in records) == {
        "train": 28_558,
        "valid": 3_579,
        "test": 3_573,
    }
    assert len(listing.rejected) == 0


@pytest.mark.parametrize(("file", "space"), [("fer2013.csv", ""), ("icml_face_data.csv", " ")])
def test_the_csv_form_joins_by_row(root, file, space):
    write_new(root, *NEW)
    write_pixels(root, NEW, file, space)
    rows = ingested()
    expected = {"fer0000000": 0, "fer0000001": 2, "fer0000007": 3, "fer0000009": 4}
    assert rows.keys() == {f"ferplus/{name}" for name in expected}
    for name, index in expected.items():
        assert np.array_equal(pixels_of(rows[f"ferplus/{name}"]), face(index))
    assert [rows[f"ferplus/{name}"]["split"] for name in expected] == ["train", "train", "valid", "test"]
    assert rejected() == [("fer2013new.csv", "3", "no_image_name")]


def test_fer2013_csv_comes_before_icml_face_data_csv(root):
    write_new(root, *NEW)
    write_pixels(root, NEW)
    write_pixels(root, NEW[::-1], "icml_face_data.csv", " ")
    assert np.array_equal(pixels_of(ingested()["ferplus/fer0000000"]), face(0))


def test_an_image_in_a_folder_comes_before_the_csv_which_fills_the_gaps(root):
    write_new(root, *NEW)
    write_pixels(root, NEW)
    write_folder(root, "FER2013Train", {"fer0000000.png": NEUTRAL})
    rows = ingested()
    assert np.array_equal(pixels_of(rows["ferplus/fer0000000"]), face(100))
    assert np.array_equal(pixels_of(rows["ferplus/fer0000009"]), face(4))
    assert len(rows) == 4


def test_new_votes_win_and_disagreements_are_counted(root):
    write_new(root, *NEW)
    write_folder(root, "FER2013Train", {"fer0000000.png": SAD, "fer0000001.png": SAD, "fer0000005.png": SAD})
    write_folder(root, "FER2013Valid", {"fer0000007.png": SAD})
    rows = ingested()
    assert rows["ferplus/fer0000000"]["votes"]["neutral"] == 8
    assert metrics()["notes"]["disagreements_with_label_csv"] == {"train": 1, "valid": 0}
    assert rejected() == [
        ("FER2013Train/label.csv", "3", "no_votes"),
        ("fer2013new.csv", "3", "no_image_name"),
        ("fer2013new.csv", "6", "missing_image"),
    ]


def test_without_label_csv_the_folders_and_new_votes_serve(root):
    write_new(root, *NEW)
    write_folder(root, "FER2013Train", {"fer0000000.png": NEUTRAL, "fer0000001.png": SAD})
    (root / "FER2013Train/label.csv").unlink()
    assert ingested().keys() == {"ferplus/fer0000000", "ferplus/fer0000001"}
    assert metrics()["notes"] == {"images_without_row": 0}


def test_label_csv_alone_gives_records_and_counts_images_without_row(root):
    write_folder(root, "FER2013Valid", {"fer0000003.png": SAD, "fer0000004.png": "1,x" + SAD[3:]})
    cv2.imwrite(str(root / "FER2013Valid/fer0000005.png"), face(1))
    rows = ingested()
    assert rows["ferplus/fer0000003"]["votes"]["sadness"] == 9
    assert rows["ferplus/fer0000003"]["source"] == "FER2013Valid/label.csv, row 1"
    assert rejected() == [("FER2013Valid/label.csv", "2", "bad_votes")]
    assert metrics()["notes"] == {"images_without_row": 1}


def test_a_repeated_name_must_repeat_its_votes(root):
    rows = (*NEW, f"Training,fer0000000.png,{NEUTRAL}", f"Training,fer0000001.png,{NF}")
    write_new(root, *rows)
    write_pixels(root, rows)
    kept = ingested()
    assert np.array_equal(pixels_of(kept["ferplus/fer0000000-row7"]), face(5))
    assert ("fer2013new.csv", "8", "duplicate_name") in rejected()
    assert len(kept) == 5


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"Training,../fer0000003.png,{SAD}", "bad_image_name"),
        (f"Training,label.csv,{SAD}", "bad_image_name"),
        (f"Holdout,fer0000003.png,{SAD}", "bad_split"),
        ("Training,fer0000003.png,0,0,0,0,0,0,0,0,0,0", "no_votes"),
        ("Training,fer0000003.png,1,1,1,1,1,1,1,1,1", "bad_row"),
        (f"Training,fer0000003.png,{SAD}", "missing_image"),
    ],
)
def test_a_bad_row_is_listed_and_its_neighbours_arrive(root, row, reason):
    write_new(root, NEW[0], row, NEW[2])
    write_folder(root, "FER2013Train", {"fer0000000.png": NEUTRAL, "fer0000001.png": SAD})
    assert ingested().keys() == {"ferplus/fer0000000", "ferplus/fer0000001"}
    assert rejected() == [("fer2013new.csv", "3", reason)]


@pytest.mark.parametrize("values", ["1 2 3", "256 " * 2304, "-1 " * 2304, "x " * 2304, ""])
def test_a_row_of_bad_pixels_is_listed(root, values):
    write_new(root, *NEW)
    write_pixels(root, NEW)
    lines = (root / "fer2013.csv").read_text().splitlines()
    lines[1] = f"6,{values},Training"
    (root / "fer2013.csv").write_text("\n".join(lines))
    assert "ferplus/fer0000000" not in ingested()
    assert ("fer2013new.csv", "2", "unreadable_image") in rejected()


def wrong_tree(root: Path, case: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    match case:
        case "empty":
            pass
        case "other":
            (root / "train" / "angry").mkdir(parents=True)
            (root / "readme.txt").touch()
        case "votes alone":
            write_new(root, *NEW)
        case "short":
            write_new(root, *NEW)
            write_pixels(root, NEW[:-1])
        case "shuffled":
            write_new(root, *NEW)
            write_pixels(root, NEW[::-1])
        case "no column":
            (root / "fer2013new.csv").write_text("Usage,Image name,neutral\n")
            write_pixels(root, NEW)
        case "no pixels":
            write_new(root, *NEW)
            (root / "fer2013.csv").write_text("emotion,Usage\n6,Training\n")
        case "no label.csv":
            write_folder(root, "FER2013Train", {"fer0000000.png": SAD})
            write_folder(root, "FER2013Valid", {"fer0000007.png": SAD})
            (root / "FER2013Valid/label.csv").unlink()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "empty",
            "data/raw/ferplus: found nothing; expected: FER2013Train/, FER2013Valid/, FER2013Test/ with",
        ),
        ("other", "data/raw/ferplus: found readme.txt, train/; expected: FER2013Train/"),
        ("votes alone", "data/raw/ferplus: found fer2013new.csv; expected: "),
        ("short", "fer2013new.csv: found 5 rows, expected: 4, as many as the CSV of pixels has"),
        ("shuffled", "fer2013new.csv, row 2: found Usage Training, in the CSV of pixels PrivateTest"),
        ("no column", "fer2013new.csv: found no column happiness, "),
        ("no pixels", "fer2013.csv: found the columns emotion, Usage, expected: emotion, pixels, Usage"),
        ("no label.csv", "FER2013Valid: found images without votes, expected: label.csv beside them"),
    ],
)
def test_a_wrong_tree_is_answered_with_the_expected_one(root, case, message):
    wrong_tree(root, case)
    with pytest.raises(UserError) as error:
        ingest.run(toy.PARAMS, "ferplus")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
