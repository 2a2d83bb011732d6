"""Images with several faces: the box of a record says whose expression its label is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from insightface.data import get_image
from insightface.model_zoo import SCRFD

from pipeline.core.errors import UserError
from pipeline.faces.boxed import face_in_box
from pipeline.faces.detection import Detection
from pipeline.faces.detectors.scrfd import Detector
from pipeline.params.model import Params
from pipeline.stages import align, ingest, label
from pipeline.tables import store
from pipeline.tables.paths import ALIGNED, INGESTED, METRICS
from tests import toy

HEADER = "image,label,x1,y1,x2,y2"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """insightface's photo of six people, 886 x 1280."""
    return get_image("t1")


@pytest.fixture(scope="module")
def people(weights_file: Path, photo: np.ndarray) -> np.ndarray:
    """The boxes of the six people, the largest first, as insightface's own SCRFD finds them."""
    model = SCRFD(str(weights_file))
    model.prepare(-1, input_size=(640, 640), det_thresh=0.5, nms_thresh=0.4)
    boxes = model.detect(photo)[0][:, :4]
    return boxes[np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))]


GREY = np.full((40, 40, 3), 90, np.uint8)
GREY[::2] = 120  # an image without contrast is rejected


def written(name: str, image: np.ndarray, *rows: str, header: str = HEADER) -> None:
    folder = Path("data/raw/table")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / name), image)
    (folder / "labels.csv").write_text("\n".join((header, *rows)) + "\n")


def ingested(p: Params = toy.PARAMS) -> list[dict]:
    ingest.run(p, "table")
    return pq.read_table(INGESTED / "table.parquet").to_pylist()


def rejected() -> list[tuple[int, str]]:
    with (INGESTED / "table.rejected.csv").open(newline="") as file:
        return [(int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


def settings(**changes: object) -> Params:
    return toy.PARAMS.model_copy(update={"align": toy.PARAMS.align.model_copy(update=changes)})


def aligned(**changes: object) -> store.Faces:
    align.run(settings(**changes), "table")
    return store.Faces(ALIGNED / "table.arrow")


def corners(box: np.ndarray) -> str:
    return ",".join(f"{value:.1f}" for value in box)


@pytest.mark.usefixtures("weights_here")
def test_each_of_two_records_of_an_image_has_its_own_face(photo, people):
    large, small = people[0], people[-1]
    written("two.png", photo, f"two.png,happy,{corners(large)}", f"two.png,sad,{corners(small)}")
    rows = {row["label"]: row for row in ingested()}
    assert {row["id"] for row in rows.values()} == {
        "table/two.png#" + ",".join(f"{float(f'{value:.1f}'):g}" for value in box) for box in (large, small)
    }
    # The second face is no repeat of the first; both stay in one split.
    assert len({row["pixels"] for row in rows.values()}) == 2
    assert {row["group"] for row in rows.values()} == {"images/two.png"}

    faces = aligned()
    found = dict(zip(faces.table["id"].to_pylist(), faces.table["box"].to_pylist(), strict=True))
    for name, box in (("happiness", large), ("sadness", small)):
        # The near look may move a box by a few per cent of its side.
        assert np.abs(np.subtract(found[rows[name]["id"]], box)).max() < 0.15 * (box[2] - box[0])
    assert not np.array_equal(faces[0], faces[1])


@pytest.mark.usefixtures("weights_here")
def test_faces_of_an_image_are_no_repeats_and_stay_in_one_split(photo, people):
    names = ["happy", "sad", "fear"] * 2
    written("six.png", photo, *(f"six.png,{n},{corners(box)}" for n, box in zip(names, people, strict=True)))
    ingested()
    aligned()
    label.run(toy.PARAMS.model_copy(update={"datasets": ["table"]}))
    rows = pq.read_table("data/labels.parquet")
    assert rows["label"].value_counts().field("counts").to_pylist() == [2, 2, 2]
    assert rows["duplicate_of"].null_count == rows["cluster"].null_count == 6
    assert rows["split"].unique().to_pylist() == ["train"]


@pytest.mark.usefixtures("weights_here")
def test_a_single_box_chooses_the_face_and_a_face_without_box_is_the_search_s(photo, people):
    small = people[-1]
    written("one.png", photo, f"one.png,sad,{corners(small)}")
    ingested()
    [box] = aligned().table["box"].to_pylist()
    assert np.abs(np.subtract(box, small)).max() < 0.15 * (small[2] - small[0])
    written("one.png", photo, "one.png,sad", header="image,label")
    ingested()
    without = aligned()
    # A box around the face that the search chooses changes no bit.
    written("one.png", photo, f"one.png,sad,{corners(without.table['box'][0].as_py())}")
    ingested()
    assert aligned().table.equals(without.table)


@pytest.mark.usefixtures("weights_here")
@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_without_a_face_in_the_box_its_square_is_cut(photo, missing):
    corner = photo[800:880, 0:80]  # a piece of the photo without a face
    written("one.png", photo, "one.png,sad,0,800,80,880")
    ingested()
    faces = aligned(missing=missing, colour=True, face_size=96)
    assert faces.table["status"].to_pylist() == [{"keep": "whole", "drop": "missing"}[missing]]
    assert faces.table["box"].null_count == 1
    if missing == "keep":
        # The square has a margin of a tenth: the box takes up its inner 80 of 96 pixels.
        assert np.abs(faces[0][8:88, 8:88, ::-1].astype(int) - corner).max() <= 1
    metrics = json.loads((METRICS / "align/table.json").read_text())
    assert metrics["found"] == 0
    assert metrics["fallback"] == (missing == "keep")


def test_the_face_that_overlaps_a_box_most_is_chosen_whatever_the_search_has_found(
    weights_file, photo, people
):
    detector = Detector(weights_file, threshold=0.5)
    [main] = detector.detect([photo])
    for box in people:
        loose = np.array([*(box[:2] - 0.4 * (box[2] - box[0])), *(box[2:] + 0.4 * (box[2] - box[0]))])
        for drawn in (box, loose):
            face = face_in_box(detector, photo, drawn, main)
            assert np.abs(face.box - box).max() < 0.15 * (box[2] - box[0])
    # A face that the search has not found, because its image is large, is found in its box.
    far = cv2.copyMakeBorder(photo, 0, 6000, 0, 6000, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    small = cv2.resize(far, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    face = face_in_box(detector, small, people[-1] * 0.3, None)
    assert isinstance(face, Detection)
    assert np.abs(face.box - people[-1] * 0.3).max() < 0.2 * face.side


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ("10,10,5,20", "bad_box"),
        ("a,1,2,3", "bad_box"),
        (",10,20,20", "bad_box"),
        ("inf,1,2,3", "bad_box"),
        ("60,10,70,30", "bad_box"),  # beside the image
        ("30,10,60,30", "bad_box"),  # a third of it inside
    ],
)
def test_a_box_that_says_nothing_costs_its_row(project, box, reason):
    written("a.png", GREY, "a.png,sad,5,5,20,20", f"a.png,happy,{box}")
    assert [row["box"] for row in ingested()] == [[5, 5, 20, 20]]
    assert rejected() == [(3, reason)]


def test_a_box_that_overhangs_its_image_is_cut_to_it(project):
    written("a.png", GREY, "a.png,sad,-2,-3,20,20", "a.png,sad,20,20,42,41.5")
    assert sorted(row["box"] for row in ingested()) == [[0, 0, 20, 20], [20, 20, 40, 40]]


def test_labels_that_nothing_knows_are_named(project):
    written("a.png", GREY, "a.png,3", "a.png,5", header="image,label")
    with pytest.raises(
        UserError, match=r"found '3', '5' where classes are named, expected: their classes in ingest"
    ):
        ingested()
