"""Landmarks that data sets publish: their order, their place in the image, and what `align` does with them."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.faces import extraction
from pipeline.faces.alignment import REFERENCE, likeness
from pipeline.faces.detection import Detection
from pipeline.intake import landmarks
from pipeline.params.model import Params
from pipeline.stages import align
from pipeline.tables import schema, store
from pipeline.tables.paths import ALIGNED, INGESTED, METRICS
from tests import toy
from tests.conftest import ROOT

NAN = float("nan")


def turned(degrees: float) -> np.ndarray:
    """The reference face with the head held at an angle."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (REFERENCE - 56) @ turn.T + 56


@pytest.mark.parametrize("degrees", [0, 45, 90, 180, 300])
def test_left_and_right_are_the_images_whatever_the_data_set_means(degrees):
    face = turned(degrees)
    subjects = face[[1, 0, 2, 4, 3]]
    for points in (face, subjects):
        assert np.allclose(np.reshape(landmarks.as_seen(points), (5, 2)), face)
    assert likeness(np.reshape(landmarks.as_seen(subjects), (5, 2))) > 0.999
    assert likeness(subjects) < 0.1


def test_five_points_out_of_68():
    points = np.arange(136.0).reshape(68, 2)  # point n, counted from 1, lies at x = 2 (n - 1)
    points[:, 1] = 0
    points[36:42], points[42:48] = [[x, 20] for x in (10, 13, 17, 20, 17, 13)], [[60, 20]] * 6
    points[30], points[48], points[54] = (37, 40), (22, 60), (52, 61)
    expected = [15, 20, 60, 20, 37, 40, 22, 60, 52, 61]
    assert np.allclose(landmarks.five(points), expected)
    assert np.allclose(landmarks.five(points.ravel()), expected)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([0, 0, 100, 50], True),
        ([10, 10, 20, 20], True),
        ([-0.6, 0, 100.9, 50.4], True),  # rounding
        ([-5, 0, 20, 20], False),
        ([10, 10, 120, 20], False),
        ([10, 10, 20, 60], False),
        ([20, 10, 10, 20], False),  # a width below zero
        ([10, 10, 10, 20], False),
        ([NAN, 10, 20, 20], False),
        ([10, 10, 1e300, 20], False),
    ],
)
def test_a_box_lies_in_its_image_or_is_left_out(box, kept):
    assert landmarks.inside(box, 100, 50) == kept


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        (REFERENCE.ravel(), True),
        (REFERENCE.ravel() + 60, False),
        (REFERENCE.ravel() - 60, False),
        (np.full(10, 30.0), False),
        (np.full(10, np.inf), False),
        (np.full(10, np.nan), False),
    ],
)
def test_landmarks_lie_in_their_image_or_are_left_out(points, kept):
    assert landmarks.inside(points.tolist(), 112, 112) == kept


@given(st.lists(st.floats(width=32), min_size=4, max_size=4))
def test_any_numbers_can_be_compared_with_an_image(box):
    assert not landmarks.inside(box, 40, 40) or np.isfinite(box).all()


def settings(**changes: object) -> Params:
    return toy.PARAMS.model_copy(update={"align": toy.PARAMS.align.model_copy(update=changes)})


def write(project, *faces: dict) -> np.ndarray:
    """Write data/ingested/toy.parquet: the same image each time, with these boxes and landmarks."""
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8), (0, 0), 4)
    image = cv2.imencode(".png", pixels)[1].tobytes()
    rows = [
        {"id": f"toy/{i}", "dataset": "toy", "image": image, "width": 200, "height": 150, "label": "fear"}
        | {"source": "", "pixels": ""}
        | face
        for i, face in enumerate(faces)
    ]
    store.write_rows(project / INGESTED / "toy.parquet", schema.ingested(), rows)
    return pixels


def result() -> tuple[store.Faces, dict]:
    return store.Faces(ALIGNED / "toy.arrow"), json.loads((METRICS / "align" / "toy.json").read_text())


@pytest.mark.usefixtures("weights_here")
def test_given_landmarks_take_the_detectors_place(project):
    points, box = (REFERENCE + [40, 20]).ravel().tolist(), [60.0, 40.0, 140.0, 140.0]
    image = write(project, {"landmarks": points, "box": box}, {"landmarks": points}, {})
    align.run(settings(landmarks="given", face_size=112, colour=True), "toy")
    faces, metrics = result()
    assert faces.table["status"].to_pylist() == ["found", "found", "whole"]  # the detector sees no face
    assert faces.table["score"].null_count == 3
    assert np.allclose(faces.table["landmarks"].to_pylist()[1], points)
    assert faces.table["box"].to_pylist() == [box, None, None]
    # Moved by whole pixels alone, so the face is the image's own pixels.
    assert np.abs(faces[0].astype(int) - image[20:132, 40:152, ::-1]).max() <= 1
    assert np.array_equal(faces[0], faces[1])
    assert (metrics["found"], metrics["given"], metrics["fallback"]) == (2, 2, 1)


@pytest.mark.usefixtures("weights_here")
def test_given_boxes_take_the_detectors_place_in_crop(project):
    box = [60.0, 40.0, 140.0, 120.0]
    write(project, {"box": box}, {"landmarks": REFERENCE.ravel().tolist()})
    align.run(settings(landmarks="given", mode="crop"), "toy")
    faces, metrics = result()
    assert faces.table["status"].to_pylist() == ["found", "whole"]
    assert faces.table["landmarks"].null_count == 2
    assert metrics["given"] == 1


@pytest.mark.usefixtures("weights_here")
def test_given_landmarks_are_left_alone_unless_asked_for(project):
    write(project, {"landmarks": (REFERENCE + [40, 20]).ravel().tolist()})
    align.run(settings(landmarks="detect"), "toy")
    assert result()[1]["given"] == 0


def test_the_detector_sees_only_images_without_given_landmarks(project, monkeypatch):
    points = REFERENCE.ravel().tolist()
    write(project, {"landmarks": points}, {}, {"landmarks": points})
    seen = []

    class Stub:
        def detect(self, images, turn):
            seen.append(len(images))
            return [Detection(np.float32([1, 2, 50, 60]), np.float32(REFERENCE / 2), 0.75)] * len(images)

    monkeypatch.setattr(extraction, "_detector", lambda *_: Stub())
    (batch,) = store.stream_parquet(
        INGESTED / "toy.parquet", ["id", "image", "box", "landmarks"], align.CHUNK
    )
    rows = extraction.Extraction(settings(landmarks="given").align, ROOT)(batch)
    assert seen == [1]
    assert rows["score"].to_pylist() == [None, 0.75, None]
