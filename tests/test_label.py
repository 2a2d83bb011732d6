"""The stage `label` on small tables: what is kept, what is dropped and why, and what it leaves on disk."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.errors import UserError
from pipeline.paths import ALIGNED, INGESTED, LABELS, METRICS
from pipeline.schema import CLASSES, VOTES, aligned, write_arrow, write_json, write_parquet
from pipeline.stages import label


def params(*datasets: str, rule: str = "plurality", classes: tuple[str, ...] = CLASSES) -> SimpleNamespace:
    return SimpleNamespace(datasets=list(datasets), classes=list(classes), labels=SimpleNamespace(rule=rule))


def picture(
    name: str, split: str, votes: dict[str, int] | str, pixels: str = "", status: str = "found"
) -> dict:
    """A row of the ingested table; `votes` as a text is a single label."""
    single = isinstance(votes, str)
    return {
        "name": name,
        "split": split,
        "votes": None if single else {entry: votes.get(entry, 0) for entry in VOTES},
        "label": votes if single else None,
        "pixels": pixels or name,
        "status": status,
    }


def write_dataset(dataset: str, *pictures: dict, rejected: dict[str, int] | None = None) -> None:
    rows = sorted(({**row, "id": f"{dataset}/{row['name']}"} for row in pictures), key=lambda row: row["id"])
    rest = {"dataset": dataset, "image": b"", "width": 2, "height": 2, "group": None, "source": "x, row 2"}
    ingested = [
        {**{key: row[key] for key in ("id", "split", "votes", "label", "pixels")}, **rest} for row in rows
    ]
    write_parquet(INGESTED / f"{dataset}.parquet", schema.ingested(), ingested)
    faces = ({"id": row["id"], "status": row["status"], "face": bytes(4)} for row in rows)
    write_arrow(ALIGNED / f"{dataset}.arrow", aligned(2, 1), faces)
    write_json(METRICS / "ingest" / f"{dataset}.json", {"records": len(rows), "rejected": rejected or {}})
    write_json(METRICS / "align" / f"{dataset}.json", {"images": len(rows)})
    (INGESTED / f"{dataset}.rejected.csv").write_text("file,row,record,reason,detail\n")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table() -> dict[str, dict]:
    rows = pq.read_table(LABELS).to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    return {row["id"]: row for row in rows}


def metrics() -> dict:
    return json.loads((METRICS / "label.json").read_text())


def target(**shares: float) -> list[float]:
    return pytest.approx([shares.get(name, 0.0) for name in CLASSES])


def voted() -> None:
    write_dataset(
        "voted",
        picture("a", "train", {"neutral": 6, "fear": 2, "unknown": 2}),
        picture("b", "train", {"anger": 5, "sadness": 5}),
        picture("c", "train", {"unknown": 6, "fear": 4}),
        picture("d", "train", {"NF": 10}),
        picture("e", "valid", {"fear": 10}),
        picture("f", "valid", {"contempt": 8, "anger": 2}),
        picture("g", "valid", {"fear": 9, "NF": 1}, status="missing"),
        picture("h", "train", {"surprise": 10}, status="whole"),
        rejected={"missing_image": 7},
    )


def test_plurality_gives_one_label_each_and_counts_the_rest():
    voted()
    label.run(params("voted", classes=[name for name in CLASSES if name != "contempt"]))
    assert {row["id"]: row["label"] for row in table().values()} == {
        "voted/a": "neutral",
        "voted/b": "sadness",
        "voted/e": "fear",
        "voted/h": "surprise",
    }
    assert table()["voted/b"]["target"] == [0, 0, 0, 1, 0, 0, 0]
    found = metrics()
    assert found["rule"] == "plurality"
    assert found["kept"] == {"train": 3, "valid": 1}
    assert found["classes"]["train"]["sadness"] == 1
    assert found["classes"]["valid"] == {**dict.fromkeys(found["classes"]["valid"], 0), "fear": 1}
    assert found["dropped"] == {"NF": 1, "class_contempt": 1, "missing_face": 1, "unknown": 1}
    assert found["not_read"] == {"voted": {"missing_image": 7}}
    assert found["agreement"]["images"] == 8


def test_majority_drops_what_has_none():
    voted()
    label.run(params("voted", rule="majority"))
    assert {row["label"] for row in table().values()} == {"neutral", "fear", "contempt", "surprise"}
    assert metrics()["dropped"] == {"NF": 1, "missing_face": 1, "no_majority": 1, "unknown": 1}


def test_distribution_keeps_the_labels_of_plurality_and_trains_on_shares():
    voted()
    label.run(params("voted", rule="distribution"))
    shares = table()
    assert shares["voted/a"]["target"] == target(neutral=0.75, fear=0.25)
    assert shares["voted/b"]["target"] == target(sadness=0.5, anger=0.5)
    label.run(params("voted"))
    assert {key: row["label"] for key, row in table().items()} == {
        key: row["label"] for key, row in shares.items()
    }


@pytest.mark.parametrize("rule", ["plurality", "majority", "distribution"])
def test_single_labels_stay_as_they_are_beside_votes(rule):
    voted()
    write_dataset(
        "single",
        picture("a", "train", "fear"),
        picture("b", "test", "unknown"),
        picture("c", "test", "anger"),
    )
    label.run(params("voted", "single", rule=rule))
    assert {key: row["label"] for key, row in table().items() if key.startswith("single")} == {
        "single/a": "fear",
        "single/c": "anger",
    }
    assert table()["single/a"]["target"] == target(fear=1)
    assert metrics()["agreement"]["images"] == 8
    assert metrics()["kept"]["test"] == 1


def test_single_labels_alone_have_no_agreement():
    write_dataset("single", picture("a", "train", "fear"))
    label.run(params("single"))
    assert metrics()["agreement"] == {}


def test_duplicates_are_counted_over_all_pictures_and_named_within_the_table():
    write_dataset(
        "d",
        picture("1", "valid", "fear", "x"),
        picture("2", "train", "fear", "x"),
        picture("3", "train", "unknown", "y"),  # no label, but a leak all the same
        picture("4", "valid", "fear", "y"),
        picture("5", "valid", "fear", "z"),
    )
    write_dataset("e", picture("1", "train", "anger", "x"))
    label.run(params("d", "e"))
    assert metrics()["duplicates"] == {"valid_in_train": 2}
    named = {key: row["duplicate_of"] for key, row in table().items()}
    assert named == {"d/1": "d/2", "d/2": None, "d/4": None, "d/5": None, "e/1": "d/2"}


def test_what_a_longer_list_left_behind_is_removed_and_nothing_else():
    voted()
    write_dataset("old", picture("a", "train", "fear"))
    (ALIGNED / ".gitignore").write_text("/voted.arrow\n")
    (ALIGNED / ".old.arrow.4711.part").write_bytes(b"half")
    (INGESTED / "notes.txt").write_text("mine")
    label.run(params("voted"))
    left = {
        path.as_posix()
        for folder in (ALIGNED, INGESTED, METRICS)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert left == {
        "data/aligned/.gitignore",
        "data/aligned/voted.arrow",
        "data/ingested/notes.txt",
        "data/ingested/voted.parquet",
        "data/ingested/voted.rejected.csv",
        "metrics/align/voted.json",
        "metrics/ingest/voted.json",
        "metrics/label.json",
    }


def test_the_same_input_gives_the_same_bytes_in_any_order_of_data_sets():
    voted()
    write_dataset("single", picture("a", "train", "fear"))
    label.run(params("voted", "single"))
    first = LABELS.read_bytes()
    label.run(params("single", "voted"))
    assert LABELS.read_bytes() == first


def test_bad_input_is_answered_in_one_line():
    with pytest.raises(
        UserError,
        match=r"^data/ingested/voted\.parquet: not found; `dvc repro` makes it, `dvc checkout` restores it$",
    ):
        label.run(params("voted"))
    write_dataset("earlier", picture("a", "train", "fear"))
    with pytest.raises(UserError, match="not found"):
        label.run(params("voted"))
    assert (ALIGNED / "earlier.arrow").exists(), "a failed run removes nothing"
    label.run(params("earlier"))
    voted()
    (ALIGNED / "voted.arrow").unlink()
    with pytest.raises(UserError, match=r"^data/aligned/voted\.arrow: not found; [^\n]+$"):
        label.run(params("voted"))
    write_arrow(
        ALIGNED / "voted.arrow", aligned(2, 1), [{"id": "voted/a", "status": "found", "face": bytes(4)}]
    )
    with pytest.raises(
        UserError, match=r"found 1 faces, expected: one for each of the 8 pictures .* align@voted"
    ):
        label.run(params("voted"))


def test_no_sample_left_says_why():
    write_dataset("d", picture("1", "train", "unknown"), picture("2", "train", "fear", status="missing"))
    with pytest.raises(
        UserError, match=r"^d: found no sample to train on; dropped: missing_face 1, unknown 1$"
    ):
        label.run(params("d"))
    assert not Path("data/labels.parquet").exists()
