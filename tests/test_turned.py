"""Faces on their side or head: found with `align.turn`, cut out upright, and counted; and `fer predict --turn`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from insightface.data import get_image
from skimage.transform import SimilarityTransform
from typer.testing import CliRunner

from pipeline import cli
from pipeline.faces.alignment import REFERENCE, quarters
from pipeline.faces.boxed import face_in_box
from pipeline.faces.crowd import all_faces
from pipeline.faces.detection import Canvas, Detection, FaceDetector, Window
from pipeline.faces.detectors import detector_module
from pipeline.params.load import load
from pipeline.stages import align
from pipeline.tables import paths, schema, store
from tests import toy

TURNS = (1, 2, 3)  # quarters, clockwise


@pytest.fixture(scope="session")
def woman() -> np.ndarray:
    """Return a photograph of one person, not square, BGR."""
    return np.ascontiguousarray(skimage.data.astronaut()[:400, ..., ::-1])


@pytest.fixture(scope="session")
def detector_of(weights_of: Callable[[str], Path]) -> Callable[[str], FaceDetector]:
    made: dict[str, FaceDetector] = {}

    def detector(name: str) -> FaceDetector:
        if name == "dlib":
            pytest.importorskip("dlib")
        if name not in made:
            made[name] = detector_module(name).Detector(weights_of(name), 0.5)
        return made[name]

    return detector


def turned(image: np.ndarray, quarter: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, -quarter))


def moved(points: np.ndarray, image: np.ndarray, quarter: int) -> np.ndarray:
    """Return points (N, 2) of an image in the image that is turned clockwise."""
    height, width = image.shape[:2]
    for _ in range(quarter):
        points, height, width = np.stack([height - points[:, 1], points[:, 0]], axis=1), width, height
    return points


def off(face: Detection | None, upright: Detection, image: np.ndarray, quarter: int) -> float:
    """Return the mean error of a face's landmarks in a turned image, in distances of the eyes."""
    assert face is not None
    expected = moved(upright.landmarks, image, quarter)
    eyes = np.linalg.norm(expected[0] - expected[1])
    return float(np.linalg.norm(face.landmarks - expected, axis=1).mean() / eyes)


# ------------------------------------------------------------------------------------------- directions


@given(st.floats(-180, 180), st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_quarters_are_the_rotation_of_scikit_images_transform(angle: float, zoom: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.deg2rad(angle)
    matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = REFERENCE @ matrix.T + rng.uniform(-300, 300, 2) + rng.normal(0, 3 * zoom, (5, 2))
    back = np.rad2deg(SimilarityTransform.from_estimate(landmarks, REFERENCE).rotation)
    nearest = {quarter: abs((back + 90 * quarter + 180) % 360 - 180) for quarter in range(4)}
    (found,) = quarters(landmarks[None])
    assert nearest[found] == pytest.approx(min(nearest.values()), abs=1e-6)


@pytest.mark.parametrize("quarter", [0, *TURNS])
def test_a_face_is_stood_up_by_as_many_quarters_as_it_is_turned(quarter: int) -> None:
    image = np.zeros((112, 112, 3))
    (found,) = quarters(moved(REFERENCE, image, quarter)[None])
    assert found == quarter
    assert quarters(np.zeros((0, 5, 2))).shape == (0,)


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.floats(0, 1.5),
    st.sampled_from([64, 160]),
    st.sampled_from(TURNS),
)
def test_points_come_back_from_a_turned_canvas(
    width: int, height: int, border: float, size: int, quarter: int
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    window = Window.around((width / 2, height / 2), max(width, height) * (1 + 2 * border))
    plain, canvas = (Canvas.of(image, window, size, turns) for turns in (0, quarter))
    assert np.array_equal(np.rot90(plain.pixels, quarter), canvas.pixels)
    points = np.random.default_rng(2).uniform(0, size, (5, 2)).astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    face = plain.to_image(Detection(np.concatenate([low, high]), points, 1.0))
    around = moved(points, plain.pixels, 4 - quarter)  # the canvas is turned anticlockwise
    box = np.concatenate([around.min(axis=0), around.max(axis=0)])
    same = canvas.to_image(Detection(box, around, 1.0))
    np.testing.assert_allclose(same.box, face.box, atol=1e-2)
    np.testing.assert_allclose(same.landmarks, face.landmarks, atol=1e-2)


# ---------------------------------------------------------------------------------------------- real faces


@pytest.mark.parametrize("name", ["scrfd", "retinaface", "yunet", "dlib"])
def test_every_detector_finds_a_turned_face_as_it_finds_the_upright_one(
    detector_of: Callable[[str], FaceDetector], woman: np.ndarray, name: str
) -> None:
    detector, woman = detector_of(name), woman[20:220, 130:310]
    images = [turned(woman, quarter) for quarter in (0, *TURNS)]
    (upright,), found = detector.detect(images[:1]), detector.detect(images, turn=True)
    assert upright is not None
    assert found[0] is not None
    assert off(found[0], upright, woman, 0) == 0, "an upright face stays as it is"
    for quarter, face in zip(TURNS, found[1:], strict=True):
        assert off(face, upright, woman, quarter) < 0.05
        corners = moved(upright.box.reshape(2, 2), woman, quarter)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        assert face is not None
        np.testing.assert_allclose(face.box, box, atol=0.05 * upright.side)


def test_published_faces_are_found_upright_whichever_way_they_lie(
    detector_of: Callable[[str], FaceDetector], shared_data: Path
) -> None:
    paths_ = sorted((shared_data / "facial_expressions/images").glob("*.jpg"))[::250][:8]
    faces = [cv2.imread(str(path)) for path in paths_]
    detector = detector_of("scrfd")
    upright = detector.detect(faces)
    for quarter in TURNS:
        found = detector.detect([turned(face, quarter) for face in faces], turn=True)
        errors = [off(*each, quarter) for each in zip(found, upright, faces, strict=True)]
        assert np.max(errors) < 0.1


@pytest.mark.parametrize("quarter", TURNS)
def test_all_faces_of_a_turned_photograph_are_found(
    detector_of: Callable[[str], FaceDetector], quarter: int
) -> None:
    detector, photo = (
        detector_of("scrfd"),
        cv2.resize(get_image("t1"), (640, 443), interpolation=cv2.INTER_AREA),
    )
    (upright,) = all_faces(detector, [photo])
    assert len(upright) == 6
    (found,) = all_faces(detector, [turned(photo, quarter)], turn=True)
    assert len(found) == 6
    for face in upright:
        assert min(off(other, face, photo, quarter) for other in found) < 0.15


@pytest.mark.parametrize("quarter", TURNS)
def test_the_face_in_a_box_is_found_in_a_turned_photograph(
    detector_of: Callable[[str], FaceDetector], quarter: int
) -> None:
    detector, photo = detector_of("scrfd"), get_image("t1")
    (upright,) = all_faces(detector, [photo])
    for face in upright[1::2]:
        corners = moved(face.box.reshape(2, 2), photo, quarter)
        box = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
        found = face_in_box(detector, turned(photo, quarter), box, None, turn=True)
        assert off(found, face, photo, quarter) < 0.15


# --------------------------------------------------------------------------------- the stage and prediction


@pytest.fixture
def photographs(project: Path, weights_here: None, woman: np.ndarray) -> None:
    """Have data/ingested/toy.parquet: a photograph in all four directions, and one without a face."""
    empty = np.full((120, 200, 3), (200, 30, 90), np.uint8)
    images = [*(turned(woman, quarter) for quarter in range(4)), empty]
    rows = [
        {"id": f"toy/{number}", "dataset": "toy", "split": "train", "width": image.shape[1]}
        | {"image": cv2.imencode(".png", image)[1].tobytes(), "height": image.shape[0]}
        | {"votes": None, "label": "fear", "group": None, "source": "", "pixels": ""}
        for number, image in enumerate(images)
    ]
    store.write_rows(paths.INGESTED / "toy.parquet", schema.ingested(), rows)


def aligned(**changes: object) -> tuple[store.Faces, dict]:
    p = load(Path("params.yaml"))
    align.run(p.model_copy(update={"align": p.align.model_copy(update=changes)}), "toy")
    return store.Faces(paths.ALIGNED / "toy.arrow"), json.loads(
        (paths.METRICS / "align/toy.json").read_text()
    )


@pytest.mark.parametrize("mode", ["five_point", "crop"])
def test_turned_faces_are_cut_out_upright_and_counted(
    photographs: None, woman: np.ndarray, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, metrics = aligned(turn=True, mode=mode, colour=True)
    assert metrics["turned"] == {"90": 1, "180": 1, "270": 1}
    assert (metrics["found"], metrics["fallback"]) == (4, 1)
    assert "toy: 3 faces lay on their side or head and are cut out upright" in capsys.readouterr().out
    upright = faces[0].astype(int)
    for quarter in TURNS:
        assert np.abs(faces[quarter] - upright).mean() < 0.2 * np.abs(faces[quarter][::-1] - upright).mean()
    points = [np.reshape(row, (5, 2)) for row in faces.table["landmarks"].to_pylist()[:4]]
    for quarter in TURNS:  # in the image as it is stored
        np.testing.assert_allclose(points[quarter], moved(points[0], woman, quarter), atol=2)


def test_without_the_option_faces_that_are_found_on_their_side_are_counted(
    photographs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    _, metrics = aligned()
    assert metrics["found"] < 4
    assert metrics["turned"]["90"] == 1
    assert metrics["turned"]["180"] == 0, "SCRFD takes no face on its head for one"
    assert "seem to lie on their side or head; `align.turn: true` looks for such" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{}, {"mode": "none", "turn": True}])
def test_metrics_without_turned_faces_stay_as_they_were(
    photographs: None, changes: dict[str, object]
) -> None:
    table = pq.read_table(paths.INGESTED / "toy.parquet").slice(0, 1).to_pylist()
    store.write_rows(paths.INGESTED / "toy.parquet", schema.ingested(), table)
    _, metrics = aligned(**changes)
    assert "turned" not in metrics


def test_predict_finds_the_faces_of_a_turned_photograph(project: Path, weights_here: None) -> None:
    classes = ["neutral", "fear"]
    toy.set_params(project, **{"model": "light", "gan": "none", "classes": classes, "gans.classes": classes})
    p = load(Path("params.yaml"))
    toy.save_model(p, toy.network(p))
    photo = cv2.resize(get_image("t1"), (640, 443), interpolation=cv2.INTER_AREA)
    for name, quarter in (("upright", 0), ("turned", 2)):
        cv2.imwrite(f"{name}.png", turned(photo, quarter))

    def predicted(*arguments: str) -> pd.DataFrame:
        done = CliRunner().invoke(cli.app, ["predict", *arguments, "--output", "out.csv"])
        assert done.exit_code == 0, done.output
        return pd.read_csv("out.csv")

    upright, plain, found = (
        predicted(*words) for words in (["upright.png"], ["turned.png"], ["turned.png", "--turn"])
    )
    assert (len(upright), len(found)) == (6, 6)
    assert set(plain["status"]) == {"whole"}
    found = found[::-1].reset_index(drop=True)  # left is right now
    np.testing.assert_allclose(found["x1"], 640 - upright["x2"], atol=8)
    np.testing.assert_allclose(found["y2"], 443 - upright["y1"], atol=8)
    np.testing.assert_allclose(found["p_fear"], upright["p_fear"], atol=0.02)
