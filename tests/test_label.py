"""The stage `label` on small tables: what is kept, what is dropped and why, and what it leaves on disk."""

import io
import json
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from dvc.repo import Repo
from scipy.stats import binom

from pipeline.core.errors import UserError
from pipeline.core.files import md5_of, write_json
from pipeline.labels import voting
from pipeline.params.load import load
from pipeline.params.model import Params
from pipeline.stages import align, check, label
from pipeline.tables import csv_cells, schema
from pipeline.tables.paths import ALIGNED, INGESTED, LABELS, METRICS, PLOTS
from pipeline.tables.schema import aligned
from pipeline.tables.store import Faces, write_rows
from pipeline.tables.vocabulary import CLASSES, VOTES
from tests import forked, toy

OWN = load(Path(__file__).parents[1] / "params.yaml")
SIZE = 16
PLAIN = np.zeros((SIZE, SIZE), np.uint8)
PNG = cv2.imencode(".png", PLAIN)[1].tobytes()


def params(*datasets: str, classes: tuple[str, ...] = CLASSES, seed: int = 1, **labels) -> Params:
    changed = {"datasets": list(datasets), "classes": list(classes), "seed": seed}
    return OWN.model_copy(update=changed | {"labels": OWN.labels.model_copy(update=labels)})


def image(
    name: str,
    split: str | None,
    votes: dict[str, int] | str,
    pixels: str = "",
    status: str = "found",
    group: str | None = None,
    face: np.ndarray = PLAIN,
) -> dict:
    """A row of the ingested table and its face; `votes` as a text is a single label."""
    single = isinstance(votes, str)
    return {
        "name": name,
        "split": split,
        "votes": None if single else {entry: votes.get(entry, 0) for entry in VOTES},
        "label": votes if single else None,
        "pixels": pixels or name,
        "status": status,
        "group": group,
        "face": face,
    }


def write_dataset(
    dataset: str, *images: dict, rejected: dict[str, int] | None = None, draw: str = ""
) -> None:
    rows = sorted(({**row, "id": f"{dataset}/{row['name']}"} for row in images), key=lambda row: row["id"])
    rest = {"dataset": dataset, "image": PNG, "width": SIZE, "height": SIZE, "source": "x, row 2"}
    own = ("id", "split", "votes", "label", "pixels", "group")
    ingested = [{**{key: row[key] for key in own}, **rest} for row in rows]
    columns = schema.ingested(draw.split(",") if draw else ())
    write_rows(INGESTED / f"{dataset}.parquet", columns, ingested)
    faces = ({"id": row["id"], "status": row["status"], "face": row["face"].tobytes()} for row in rows)
    write_rows(ALIGNED / f"{dataset}.arrow", aligned(SIZE, 1), faces)
    write_json(METRICS / "ingest" / f"{dataset}.json", {"records": len(rows), "rejected": rejected or {}})
    write_json(METRICS / "align" / f"{dataset}.json", {"images": len(rows)})
    (INGESTED / f"{dataset}.rejected.csv").write_text("file,row,record,reason,detail\n")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        image("a", "train", {"neutral": 6, "fear": 2, "unknown": 2}),
        image("b", "train", {"anger": 5, "sadness": 5}),
        image("c", "train", {"unknown": 6, "fear": 4}),
        image("d", "train", {"NF": 10}),
        image("e", "valid", {"fear": 10}),
        image("f", "valid", {"contempt": 8, "anger": 2}),
        image("g", "valid", {"fear": 9, "NF": 1}, status="missing"),
        image("h", "train", {"surprise": 10}, status="whole"),
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


def test_single_votes_can_count_for_nothing_in_a_distribution():
    votes = np.array(
        [[6, 0, 0, 1, 2, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0, 0, 0, 1, 6]]
    )
    settings = OWN.labels.model_copy(update={"rule": "distribution", "drop_single": True})
    winners, targets, _ = voting.decide(votes, [], CLASSES, settings)
    assert winners.tolist() == [0, 0, 9]
    assert targets[0].tolist() == target(neutral=0.75, anger=0.25)
    assert targets[1].tolist() == target(neutral=0.5, happiness=0.5), "nothing else would be left"


@pytest.mark.parametrize("rule", ["plurality", "majority", "distribution"])
def test_single_labels_stay_as_they_are_beside_votes(rule):
    voted()
    write_dataset(
        "single",
        image("a", "train", "fear"),
        image("b", "test", "unknown"),
        image("c", "test", "anger"),
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
    write_dataset("single", image("a", "train", "fear"))
    label.run(params("single"))
    assert metrics()["agreement"] == {}


def test_duplicates_are_counted_over_all_images_and_named_within_the_table():
    write_dataset(
        "d",
        image("1", "valid", "fear", "x"),
        image("2", "train", "fear", "x"),
        image("3", "train", "unknown", "y"),  # no label, but a leak all the same
        image("4", "valid", "fear", "y"),
        image("5", "valid", "fear", "z"),
    )
    write_dataset("e", image("1", "train", "anger", "x"))
    label.run(params("d", "e"))
    assert metrics()["duplicates"] == {"valid_in_train": 2}
    named = {key: row["duplicate_of"] for key, row in table().items()}
    assert named == {"d/1": "d/2", "d/2": None, "d/4": None, "d/5": None, "e/1": "d/2"}


def known_to_dvc(*paths: Path) -> None:
    """Have files in DVC's cache and in dvc.lock."""
    Repo.init(no_scm=True).close()
    outs = []
    for path in paths:
        md5 = md5_of(path)
        outs.append({"path": path.as_posix(), "md5": md5})
        cached = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(path.read_bytes())
    Path("dvc.lock").write_text(json.dumps({"stages": {"any": {"outs": outs}}}))


def test_what_dvc_restores_of_a_longer_list_is_removed_and_nothing_else(capsys):
    voted()
    write_dataset("old", image("a", "train", "fear"))
    write_dataset("mine", image("a", "train", "fear"))
    write_dataset("newer", image("a", "train", "fear"))
    outputs = [path for path in Path().rglob("*") if path.name.startswith(("old.", "newer."))]
    known_to_dvc(*outputs)
    for path in outputs:
        if path.name.startswith("newer."):
            path.write_bytes(path.read_bytes() + b"more")
    (ALIGNED / ".gitignore").write_text("/voted.arrow\n")
    (INGESTED / "notes.txt").write_text("mine")
    label.run(params("voted"))
    own = left_of("mine", "newer")
    tables = [path for path in own if path.startswith("data/")]
    assert f"label: left {', '.join(tables)}: " in " ".join(capsys.readouterr().out.split())
    left = {
        path.as_posix()
        for folder in (ALIGNED, INGESTED, METRICS)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert left == {
        *own,
        "data/aligned/.gitignore",
        "data/aligned/voted.arrow",
        "data/ingested/notes.txt",
        "data/ingested/voted.parquet",
        "data/ingested/voted.rejected.csv",
        "metrics/align/voted.json",
        "metrics/ingest/voted.json",
        "metrics/label.json",
    }


def left_of(*datasets: str) -> list[str]:
    """Return all outputs of ingest and align of data sets."""
    patterns = {
        ALIGNED: (".arrow",),
        INGESTED: (".parquet", ".rejected.csv"),
        METRICS / "ingest": (".json",),
        METRICS / "align": (".json",),
    }
    return [
        (folder / path).as_posix()
        for folder, endings in patterns.items()
        for path in sorted(f"{name}{ending}" for name in datasets for ending in endings)
    ]


def align_in_two_steps() -> None:
    def waiting(function, chunks, *_):
        for number, chunk in enumerate(chunks):
            Path(f"chunk-{number}").touch()
            while number and not Path("go").exists():
                time.sleep(0.01)
            yield function(chunk)

    align.ordered = waiting
    forked.fer("align", "other")


def test_align_of_another_data_set_in_another_terminal_loses_nothing(project):
    voted()
    write_dataset("other", *(image(f"{i:03}", "train", "fear") for i in range(align.CHUNK + 1)))
    known_to_dvc(INGESTED / "other.parquet", METRICS / "ingest/other.json")
    (ALIGNED / "other.arrow").unlink()
    shutil.copy(Path(__file__).parents[1] / "params.yaml", project)
    toy.set_params(project, **{"align.mode": "none"})
    process = forked.start(align_in_two_steps, errors=str(project / "errors"))
    while process.is_alive() and not Path("chunk-1").exists():
        time.sleep(0.01)
    label.run(params("voted"))
    assert list(ALIGNED.glob(".*.part/other.arrow"))
    Path("go").touch()
    process.join()
    assert process.exitcode == 0, Path("errors").read_text()
    assert (INGESTED / "other.parquet").exists()
    assert len(Faces(ALIGNED / "other.arrow")) == align.CHUNK + 1


def test_the_same_input_gives_the_same_bytes_in_any_order_of_data_sets():
    voted()
    write_dataset("single", image("a", "train", "fear"))
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
    write_dataset("earlier", image("a", "train", "fear"))
    with pytest.raises(UserError, match="not found"):
        label.run(params("voted"))
    assert (ALIGNED / "earlier.arrow").exists(), "a failed run removes nothing"
    label.run(params("earlier"))
    voted()
    (ALIGNED / "voted.arrow").unlink()
    with pytest.raises(UserError, match=r"^data/aligned/voted\.arrow: not found; [^\n]+$"):
        label.run(params("voted"))
    write_rows(
        ALIGNED / "voted.arrow", aligned(2, 1), [{"id": "voted/a", "status": "found", "face": bytes(4)}]
    )
    with pytest.raises(
        UserError, match=r"found 1 faces, expected: one for each of the 8 images .* align@voted"
    ):
        label.run(params("voted"))


def test_a_figure_that_fails_replaces_nothing(monkeypatch):
    voted()
    label.run(params("voted"))

    def outputs() -> dict[str, bytes]:
        files = [LABELS, METRICS / "label.json", *(PLOTS / "label").iterdir()]
        return {str(path): path.read_bytes() for path in files}

    before = outputs()
    monkeypatch.setattr(label, "landmark_scatter", lambda *_: Path("no/such/folder").touch())
    with pytest.raises(UserError):
        label.run(params("voted", rule="majority"))
    assert outputs() == before


def test_no_sample_left_says_why():
    write_dataset("d", image("1", "train", "unknown"), image("2", "train", "fear", status="missing"))
    with pytest.raises(
        UserError, match=r"^d: found no sample to train on; dropped: missing_face 1, unknown 1$"
    ):
        label.run(params("d"))
    assert not Path("data/labels.parquet").exists()


def noise(seed: int) -> np.ndarray:
    """A face unlike the others, smooth enough to look the same after JPEG compression."""
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), (0, 0), 1.2)
    return (128 + 250 * field).clip(0, 255).astype(np.uint8)


def darker(face: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", (face * 0.8).astype(np.uint8))[1], cv2.IMREAD_GRAYSCALE)


def test_nearly_identical_images_are_counted_and_clustered():
    write_dataset(
        "a",
        image("1", "valid", "fear", face=darker(noise(1))),
        image("2", "train", "fear", face=noise(1)),
        image("3", "train", "fear", face=noise(2)),
        image("4", "train", "unknown", face=noise(3)),  # no label, but a leak all the same
        image("5", "test", "fear", face=darker(noise(3))),
        image("6", "test", "fear", "x", face=noise(4)),
        image("7", "test", "fear", "x", face=noise(4)),
    )
    write_dataset("b", image("1", "train", "anger", "y", face=darker(noise(2))))
    label.run(params("a", "b"))
    found = metrics()
    assert found["duplicates"] == {"valid_in_train": 0, "test_in_train": 0, "test_in_valid": 0}
    assert found["near_duplicates"] == {
        "valid_in_train": 1,
        "test_in_train": 1,
        "test_in_valid": 0,
        "within": {"train": 1, "valid": 0, "test": 1},
        "datasets": {"b_in_a": 1, "a_in_b": 1},
    }
    none = {"valid_in_train": 0, "test_in_train": 0, "test_in_valid": 0}
    # Of the samples: a/4 is none.
    assert found["leaks"] == {"near_duplicates": none | {"valid_in_train": 1}, "groups": {}}
    assert found["datasets"]["b"]["leaks"]["near_duplicates"] == {}
    assert {key: row["cluster"] for key, row in table().items()} == {
        **{"a/1": "a/2", "a/2": "a/2", "a/3": "a/3", "a/5": None, "a/6": "a/6", "a/7": "a/6", "b/1": "a/3"}
    }
    assert {key for key, row in table().items() if row["duplicate_of"]} == {"a/7"}


def test_a_second_face_of_an_image_takes_no_near_copy_apart():
    rows = [
        image("1", "train", "fear", "x", face=noise(1)),
        image("2", "train", "fear", face=darker(noise(1))),
    ]
    write_dataset("d", *rows)
    write_dataset(
        "a", image("1", "train", "fear", "x", face=noise(2))
    )  # of the same pixels, and first by its id
    label.run(params("d", "a"))
    assert {row["cluster"] for row in table().values()} == {"a/1"}


def leaking() -> None:
    write_dataset(
        "d",
        image("1", "train", "fear", face=noise(1)),
        image("2", "valid", "fear", face=darker(noise(1))),
        image("3", "train", "fear", "x"),
        image("4", "test", "fear", "x"),
        image("5", "train", "anger"),
        image("6", "test", "anger", status="missing"),
    )


@pytest.mark.parametrize(
    ("choice", "kept", "dropped"),
    [
        ("keep", "12345", {"missing_face": 1}),
        ("drop_from_train", "245", {"duplicate": 2, "missing_face": 1}),
        ("drop_from_eval", "135", {"duplicate": 2, "missing_face": 1}),
    ],
)
def test_what_occurs_in_two_splits_is_dropped_where_wanted(choice, kept, dropped, capsys):
    leaking()
    label.run(params("d", duplicates=choice))
    assert set(table()) == {f"d/{name}" for name in kept}
    assert metrics()["dropped"] == dropped
    assert (
        f"valid_in_train 1, test_in_train 1, test_in_valid 0); labels.duplicates: {choice}"
        in capsys.readouterr().out
    )
    assert metrics()["duplicates"]["test_in_train"] == 1, "what was found is counted, not what is left"


def undivided(people: int = 0) -> list[dict]:
    names = ("fear", "anger", "neutral", "unknown")
    return [
        image(f"{i:03}", None, names[i % 4], group=f"person {i % people}" if people else None)
        for i in range(400)
    ]


def likely(count: int, share: float) -> range:
    """Return the sizes that 999 of 1,000 draws have."""
    low, high = binom.interval(0.999, count, share)
    return range(int(low), int(high) + 1)


def test_a_split_that_is_not_published_is_drawn_by_seed(capsys):
    write_dataset("d", *undivided(), image("t", "test", "fear"), draw="valid")
    label.run(params("d"))
    once = {key: row["split"] for key, row in table().items()}
    assert metrics()["kept"]["valid"] in likely(300, 0.1)
    assert metrics()["kept"]["test"] == 1
    assert metrics()["drawn"] == {"valid": metrics()["kept"]["valid"]}
    assert capsys.readouterr().out.count("\n") == 2, "nothing to say beyond what is kept and dropped"
    label.run(params("d", classes=("anger", "fear"), merge={"neutral": "fear"}, rule="majority"))
    label.run(params("d", classes=("anger", "fear")))
    fewer = {key: row["split"] for key, row in table().items()}
    assert all(once[key] == split for key, split in fewer.items()), "other classes move no image"
    label.run(params("d", seed=2))
    assert {key: row["split"] for key, row in table().items()} != once
    label.run(params("d", valid=0.5))
    assert metrics()["kept"]["valid"] in likely(300, 0.5)


def growing(count: int, people: bool) -> list[dict]:
    """Return images of which the later ones repeat the first ones, exactly or nearly, or show their people again."""
    rows = []
    for i in range(count):
        face, pixels = noise(i + 1000 * people), ""
        if i >= 180 and i % 3 == 0:
            face = darker(noise(i - 180 + 1000))  # of the other data set too
        elif i >= 180 and i % 3 == 1:
            face, pixels = noise(i - 180 + 1000 * people), f"{i - 180}"
        group = f"person {i * 7 % (40 + i // 9)}" if people else None
        status = "missing" if i % 20 == 0 else "found"
        label = ("fear", "anger", "neutral", "unknown")[i % 4]
        rows.append(image(f"{i}", None, label, pixels, status, group, face))
    return rows


@pytest.mark.parametrize("seed", [1, 2])
def test_a_data_set_that_grows_from_180_to_270_images_moves_none_back(seed):
    found = []
    for count, classes in ((180, ("fear", "anger")), (270, CLASSES)):
        for name, people in (("alone", False), ("people", True)):
            write_dataset(name, *growing(count, people), draw="valid,test")
        label.run(params("alone", "people", classes=classes, seed=seed))
        found.append({key: row["split"] for key, row in table().items()})
        assert not any(metrics()["groups"].values())
        assert not any(value for key, value in metrics()["near_duplicates"].items() if "_in_" in key)
    before, after = found
    moved = [(before[key], after[key]) for key in before if after[key] != before[key]]
    assert set(moved) <= {("train", "valid"), ("train", "test"), ("valid", "test")}
    assert moved, "some follow a new image towards test"
    assert list(before.values()).count("test") > 10


def test_in_cross_validation_each_person_is_tested_once_whatever_the_seed():
    rows = [image(f"{i}", None, CLASSES[i % 2], group=f"person {i % 10}") for i in range(60)]
    write_dataset("few", *rows, draw="valid,test")
    tested = []
    for part in (1, 2, 3):
        label.run(params("few", seed=part, fold=[part, 3]))
        tested += [row["id"] for row in table().values() if row["split"] == "test"]
        assert metrics()["drawn"]["test"] in (18, 24)
    assert sorted(tested) == sorted(row["id"] for row in table().values())
    with pytest.raises(
        UserError,
        match=r"^params.yaml: labels.fold: found \[1, 11\], allowed: null, or at most 10 parts: the people or images "
        "that have no published test split$",
    ):
        label.run(params("few", fold=[1, 11]))


@pytest.mark.parametrize(("people", "images"), [(4, 24), (None, 20)])
def test_the_splits_of_a_small_data_set_are_not_empty_and_what_is_missing_is_said(people, images, capsys):
    names = ("fear", "anger", "neutral", "sadness")
    rows = [
        image(f"{i}", None, names[i // 6 % 4], group=f"person {i % people}" if people else None)
        for i in range(images)
    ]
    write_dataset("few", *rows, draw="valid,test")
    filled = 0
    for seed in (1, 2, 3):
        label.run(params("few", seed=seed))
        said = capsys.readouterr().out.splitlines()
        kept = metrics()["kept"]
        assert set(kept) == {"train", "valid", "test"}
        assert all(kept.values())
        for split in ("valid", "test"):
            absent = [f"{name} of few" for name in sorted(names) if not metrics()["classes"][split][name]]
            line = f"{', '.join(absent)}: a share is drawn without regard to classes"
            assert (f"label: {split} has no sample of {line}" in said) == bool(absent)
        filled += any(
            line.startswith("label: images of few fill a split that would be empty;") for line in said
        )
    assert filled


def test_near_copies_that_make_a_split_larger_are_counted(capsys):
    faces = [noise(i) for i in range(40)]
    rows = [image(f"{i}", None, "fear", face=face) for i, face in enumerate(faces)]
    near = [image(f"near {i}", None, "fear", face=darker(face)) for i, face in enumerate(faces)]
    write_dataset("d", *rows, *near, draw="valid,test")
    label.run(params("d"))
    beyond = [line for line in capsys.readouterr().out.splitlines() if "beyond the shares" in line]
    together = {key: row["split"] for key, row in table().items()}
    counts = dict.fromkeys(("valid", "test"), 0)
    write_dataset("d", *(row | {"face": PLAIN} for row in (*rows, *near)), draw="valid,test")
    label.run(params("d"))
    for key, row in table().items():
        if row["split"] != together[key]:
            counts[together[key]] += 1
    said = f"valid {counts['valid']}, test {counts['test']}"
    assert beyond == [f"label: drawn beyond the shares, as a near copy is: {said}"]


def published_valid() -> None:
    names = ("fear", "anger")
    train = [image(f"t{i:02}", "train", names[i % 2]) for i in range(40)]
    valid = [image(f"v{i:02}", "valid", names[i % 2], "t00" if i == 0 else "") for i in range(10)]
    write_dataset("affectnet", *train, *valid, draw="test")


@pytest.mark.parametrize(
    ("use", "kept", "leaks"),
    [
        ("valid", {"train": 35, "valid": 10, "test": 5}, {"valid_in_train": 1}),
        ("test", {"train": 35, "valid": 5, "test": 10}, {"test_in_train": 1}),
        ("drop", {"train": 29, "valid": 6, "test": 5}, {}),
    ],
)
def test_a_published_valid_split_is_used_as_chosen(use, kept, leaks):
    published_valid()
    label.run(params("affectnet", published_valid={"affectnet": use}))
    assert metrics()["kept"] == kept
    assert {split for name, row in table().items() if "/v" in name for split in [row["split"]]} == {use} - {
        "drop"
    }
    assert metrics()["dropped"] == ({"published_valid": 10} if use == "drop" else {})
    assert {name: count for name, count in metrics()["duplicates"].items() if count} == leaks


def test_a_number_of_each_class_counts_samples(capsys):
    published_valid()
    spoilt = [image(f"x{i}", "train", "fear", status="missing") for i in range(20)]
    people = [image(f"p{i}", "train", "fear", group=f"person {i // 3}") for i in range(6)]
    write_dataset("other", *spoilt, *people, draw="valid,test")
    p = params("affectnet", "other", published_valid={"affectnet": "drop"}, valid=7, test=0.25)
    with pytest.raises(UserError) as error:
        label.run(p)
    assert str(error.value) == (
        "params.yaml: labels.valid + labels.test: found 7 images of fear in other, allowed: fewer than 3, those that "
        "can be drawn; the rest is train"
    )
    label.run(params("affectnet", "other", published_valid={"affectnet": "drop"}, valid=4, test=1))
    found = {name: of["classes"] for name, of in metrics()["datasets"].items()}
    assert [found["affectnet"][split]["fear"] for split in ("train", "valid", "test")] == [15, 4, 1]
    assert [found["affectnet"][split]["anger"] for split in ("train", "valid", "test")] == [15, 4, 1]
    assert [found["other"][split]["fear"] for split in ("train", "valid", "test")] == [3, 3, 0]
    said = capsys.readouterr().out
    assert (
        "label: valid has fewer than 4 of a class (fear of other 3): people and copies stay together\n"
        in said
    )
    assert (
        "label: test has fewer than 1 of a class (fear of other 0): people and copies stay together\n" in said
    )


def test_a_valid_split_that_is_not_published_cannot_be_used_otherwise():
    write_dataset("single", image("a", "train", "fear"), draw="valid")
    with pytest.raises(UserError) as error:
        label.run(params("single", published_valid={"single": "test"}))
    assert str(error.value) == (
        "params.yaml: labels.published_valid.single: found test, allowed: valid, as the data set publishes no "
        "valid split"
    )


def test_nothing_is_drawn_where_the_data_set_does_not_say_so():
    write_dataset("d", *undivided())
    label.run(params("d"))
    assert metrics()["kept"] == {"train": 300}
    assert metrics()["drawn"] == {}


def test_drawn_splits_keep_people_and_copies_together():
    twins = [image(f"twin {i}", "train", "fear", f"{i:03}", group="twin") for i in range(3)]
    write_dataset("d", *undivided(people=80), *twins, draw="valid,test")
    label.run(params("d"))
    rows = table()
    splits = {
        person: {rows[f"d/{i:03}"]["split"] for i in range(person, 400, 80) if i % 4 < 3}
        for person in range(80)
    }
    assert all(len(of_person) <= 1 for of_person in splits.values())
    assert len({rows[f"d/{name}"]["split"] for name in ("000", "001", "002", "twin 0", "twin 2")}) == 1
    assert metrics()["groups"] == {"valid_in_train": 0, "test_in_train": 0, "test_in_valid": 0}
    assert {"valid", "test"} <= set(metrics()["drawn"])


def test_people_in_two_published_splits_are_counted():
    write_dataset(
        "d",
        image("1", "train", "fear", group="anna"),
        image("2", "valid", "fear", group="anna"),
        image("3", "valid", "fear", group="ben"),
        image("4", "valid", "fear"),
    )
    write_dataset("e", image("1", "train", "fear", group="ben"))  # another data set's ben
    label.run(params("d", "e"))
    assert metrics()["groups"] == {"valid_in_train": 1}


def test_classes_are_merged_before_the_votes_are_counted():
    write_dataset(
        "d",
        image("1", "train", {"anger": 4, "disgust": 3, "contempt": 3}),
        image("2", "train", "contempt"),
        image("3", "train", {"anger": 8, "contempt": 2}),
    )
    classes = [name for name in CLASSES if name != "contempt"]
    label.run(params("d", classes=classes, merge={"contempt": "disgust"}, rule="distribution"))
    assert [row["label"] for row in table().values()] == ["disgust", "disgust", "anger"]
    assert table()["d/3"]["target"] == pytest.approx([0, 0, 0, 0, 0.8, 0.2, 0])
    assert metrics()["dropped"] == {}
    assert "anger_contempt" in metrics()["agreement"]["second_choice"], "agreement is about the votes cast"


def test_labels_with_little_support_are_dropped_by_reason():
    write_dataset(
        "d",
        image("1", "train", {"fear": 6, "anger": 4}),
        image("2", "train", {"fear": 5, "anger": 3, "sadness": 2}),
        image("3", "train", {"fear": 3}),
        image("4", "train", {"unknown": 3}),
        image("5", "train", "fear"),
    )
    label.run(params("d", min_votes=4, min_share=0.6))
    assert set(table()) == {"d/1", "d/5"}
    assert metrics()["dropped"] == {"min_share": 1, "min_votes": 1, "unknown": 1}


def exclude(text: str | bytes) -> dict[str, str]:
    """Write a list of images to leave out; return the setting that names it."""
    path = Path("data/exclude/wrong.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"exclude": str(path)}


def test_listed_images_are_left_out_and_counted(capsys):
    voted()
    label.run(params("voted"))
    whole, before = table(), metrics()
    rows = [
        "rank,ID,id,label",
        '1,x,voted/a,"fear, or not"',
        "2,y,voted/e,",
        "3,z,voted/a,",
        "4,,voted/nobody,",
    ]
    label.run(params("voted", **exclude("\n".join([*rows, "5,,voted/d,", ",,,", ""]))))
    assert table() == {key: row for key, row in whole.items() if key not in ("voted/a", "voted/e")}
    after = metrics()
    assert after["exclude"] == {"listed": 4, "unknown": 1}
    assert before["dropped"] == {"NF": 1, "missing_face": 1, "unknown": 1}
    assert after["dropped"] == {"excluded": 3, "missing_face": 1, "unknown": 1}
    assert after["kept"] == {"train": before["kept"]["train"] - 1, "valid": before["kept"]["valid"] - 1}
    assert "exclude" not in before
    said = capsys.readouterr().out
    assert "label: labels.exclude: 1 of 4 ids not found in voted, such as voted/nobody\n" in said


def test_a_list_of_images_may_come_from_a_spreadsheet():
    names = ("a;=1.png", "@b,c.png", "é.png", "d.png")
    write_dataset("d", *(image(name, "train", "fear") for name in names))
    ids = [f"d/{name}" for name in names[:3]]
    ours = io.StringIO(newline="")
    write_row = csv_cells.row_writer(ours)
    for row in [["rank", "id"], *enumerate(ids)]:
        write_row(row)
    quoted = "\n".join(f'"{id_}";x' for id_ in ids)
    for text in (ours.getvalue(), f"id;note\r\n{quoted}", f"\ufeff id \tnote\n{quoted}".replace(";x", "\tx")):
        label.run(params("d", **exclude(text)))
        assert set(table()) == {"d/d.png"}
        assert metrics()["exclude"] == {"listed": 3, "unknown": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\na\n", "data/exclude/wrong.csv, row 1: found name, allowed: a header with the column id"),
        ("", "data/exclude/wrong.csv, row 1: found an empty line, allowed: a header with the column id"),
        ("x,id\n1,a\n2\n", "data/exclude/wrong.csv, row 3: found no id, expected: that of an image"),
        (b"id\n\xff\n", "data/exclude/wrong.csv: not in UTF-8, expected: a CSV file with the column id"),
        (f"id\n{'a' * 200_000}\n", "data/exclude/wrong.csv: not a CSV file: field larger than field limit"),
        (
            None,
            "params.yaml: labels.exclude: found data/exclude/wrong.csv, which is not there, allowed: null or a CSV",
        ),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_anything_is_written(project, text, said):
    voted()
    p = params("voted", **(exclude(text) if text is not None else {"exclude": "data/exclude/wrong.csv"}))
    (project / "data/raw/voted").mkdir(parents=True)
    (project / "data/raw/voted/a").touch()
    for run in (label.run, check.run):
        with pytest.raises(UserError) as error:
            run(p)
        assert str(error.value).startswith(said)
        assert "\n" not in str(error.value)
    assert not LABELS.exists()


def test_what_is_left_out_moves_no_other_image_to_another_split():
    write_dataset("d", *undivided(), draw="valid,test")
    label.run(params("d"))
    once = {key: row["split"] for key, row in table().items()}
    gone = [key for i, key in enumerate(once) if i % 3 == 0]
    label.run(params("d", **exclude("\n".join(["id", *gone]))))
    assert {key: row["split"] for key, row in table().items()} == {
        key: split for key, split in once.items() if key not in gone
    }


def test_each_of_several_data_sets_is_counted():
    voted()
    write_dataset("single", image("a", "train", "fear"), image("b", "test", "unknown"))
    label.run(params("voted", "single"))
    found = metrics()["datasets"]
    assert found["single"]["kept"] == {"train": 1, "valid": 0, "test": 0}
    assert found["single"]["classes"]["train"]["contempt"] == 0
    assert found["single"]["dropped"] == {"unknown": 1}
    assert found["single"]["agreement"] == {}
    assert found["voted"]["agreement"] == metrics()["agreement"]
    label.run(params("single"))
    assert "datasets" not in metrics()


def test_a_split_that_cannot_be_drawn_is_refused():
    write_dataset("d", image("1", "train", "fear"), draw="valid,train")
    with pytest.raises(UserError, match=r"d\.parquet: found 'train' to draw, allowed: valid, test$"):
        label.run(params("d"))
