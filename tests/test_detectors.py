"""YuNet, dlib and RetinaFace against OpenCV, dlib and insightface called plainly, on drawn and on real faces."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from insightface.data import get_image
from insightface.model_zoo.retinaface import RetinaFace

from pipeline.core.errors import UserError
from pipeline.faces.detection import Detection, FaceDetector
from pipeline.faces.detectors import DetectorModule, detector_module
from pipeline.methods.models.parts.torchvision import models
from pipeline.params.methods import choices
from pipeline.sample import people
from pipeline.tables.vocabulary import CLASSES

NAMES = ("yunet", "dlib", "retinaface")


def module(name: str) -> DetectorModule:
    if name == "dlib":
        pytest.importorskip("dlib", reason="the optional package dlib-bin is not installed")
    return detector_module(name)


@pytest.fixture(scope="session")
def detector_of(weights_of: Callable[[str], Path]) -> Callable[[str], FaceDetector]:
    made: dict[str, FaceDetector] = {}

    def detector(name: str) -> FaceDetector:
        if name not in made:
            made[name] = module(name).Detector(weights_of(name), 0.5)
        return made[name]

    return detector


@pytest.fixture(scope="session")
def published(
    shared_data: Path, detector_of: Callable[[str], FaceDetector]
) -> dict[str, tuple[list[np.ndarray], list[Detection | None]]]:
    """A hundred images of two published sets, and the faces that SCRFD finds in them."""
    found = {}
    for folder in ("ferplus/FER2013Valid", "facial_expressions/images"):
        paths = sorted(path for path in (shared_data / folder).iterdir() if path.suffix != ".csv")
        images = [cv2.imread(str(path)) for path in paths[:: len(paths) // 100][:100]]
        found[folder] = images, detector_of("scrfd").detect(images)
    return found


@pytest.fixture(scope="session")
def canvas() -> np.ndarray:
    """insightface's photo of six people on a canvas of 640 x 640."""
    photo = get_image("t1")
    laid = np.zeros((640, 640, 3), np.uint8)
    laid[:443] = cv2.resize(photo, (640, 443), interpolation=cv2.INTER_AREA)
    return laid


@pytest.fixture(scope="session")
def drawn() -> list[tuple[bool, np.ndarray]]:
    """Images of the embedded sample, and whether there is a face."""
    of = defaultdict(list)
    for planned in people.plan(1200, 7):
        of[planned.shown].append(planned)
    some = [planned for shown in (*CLASSES, None) for planned in of[shown][: 3 if shown else 20]]
    images = people.rendered([planned.scene for planned in some], workers=2)
    return [
        (planned.shown is not None, cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR))
        for planned, image in zip(some, images, strict=True)
    ]


def table(faces: list[Detection]) -> np.ndarray:
    """Return box, landmarks and score of faces, one row each, from left to right."""
    rows = [np.concatenate([face.box, face.landmarks.ravel(), [face.score]]) for face in faces]
    return np.array(sorted(rows, key=lambda row: row[0]))


# ----------------------------------------------------------------------------------------- one face after another


def test_yunets_faces_are_opencvs(
    detector_of: Callable[[str], FaceDetector], weights_of: Callable[[str], Path], canvas: np.ndarray
) -> None:
    plain = cv2.FaceDetectorYN.create(str(weights_of("yunet")), "", (640, 640), 0.5, 0.4)
    expected = plain.detect(canvas)[1]
    expected = expected[np.argsort(expected[:, 0])]
    expected[:, 2:4] += expected[:, :2]
    [faces] = detector_of("yunet").faces([canvas])
    assert len(faces) == 6
    np.testing.assert_allclose(table(faces), expected, atol=1e-3)


def test_dlibs_faces_are_dlibs(
    detector_of: Callable[[str], FaceDetector], weights_of: Callable[[str], Path], canvas: np.ndarray
) -> None:
    dlib = pytest.importorskip("dlib")
    large = cv2.resize(canvas, (1280, 1280), interpolation=cv2.INTER_LINEAR)
    rgb = cv2.cvtColor(large, cv2.COLOR_BGR2RGB)
    boxes, distances, _ = dlib.get_frontal_face_detector().run(rgb, 0, 0.0)
    predictor = dlib.shape_predictor(str(weights_of("dlib")))
    expected = []
    for box, distance in zip(boxes, distances, strict=True):
        part = predictor(rgb, box).part
        x, y = ([getattr(part(i), axis) for i in range(68)] for axis in "xy")
        eyes = [(np.mean(x[i : i + 6]), np.mean(y[i : i + 6])) for i in (36, 42)]
        five = [*eyes, (x[30], y[30]), (x[48], y[48]), (x[54], y[54])]
        score = torch.tensor(distance, dtype=torch.float64).sigmoid()
        corners = [box.left(), box.top(), box.left() + box.width(), box.top() + box.height()]
        expected.append([*corners, *np.ravel(five), score])
    [faces] = detector_of("dlib").faces([large])
    assert len(faces) >= 5
    np.testing.assert_allclose(table(faces), np.array(sorted(expected)), atol=1e-4)


def test_retinaface_of_nine_outputs_is_insightfaces(
    weights_of: Callable[[str], Path], canvas: np.ndarray, tmp_path: Path
) -> None:
    # insightface's class reads networks whose outputs are not told apart by image, as in its model packs.
    model = onnx.load(weights_of("scrfd"))
    for output, width in zip(model.graph.output, np.repeat([1, 4, 10], 3), strict=True):
        shape = onnx.numpy_helper.from_array(np.array([-1, width]), f"{output.name}.shape")
        model.graph.initializer.append(shape)
        flat = onnx.helper.make_node("Reshape", [output.name, shape.name], [f"{output.name}.flat"])
        model.graph.node.append(flat)
        output.CopyFrom(onnx.helper.make_tensor_value_info(flat.output[0], onnx.TensorProto.FLOAT, None))
    path = tmp_path / "flat.onnx"
    onnx.save(model, path)
    plain = RetinaFace(str(path))
    plain.prepare(-1, input_size=(640, 640), det_thresh=0.5, nms_thresh=0.4)
    boxes, landmarks = plain.detect(canvas)
    expected = np.concatenate([boxes[:, :4], landmarks.reshape(-1, 10), boxes[:, 4:]], axis=1)
    [faces] = module("retinaface").Detector(path, 0.5).faces([canvas])
    assert len(faces) == 6
    np.testing.assert_allclose(table(faces), expected[np.argsort(expected[:, 0])], atol=0.01)


def test_retinaface_of_three_outputs_is_torchvisions_decoding(
    detector_of: Callable[[str], FaceDetector], weights_of: Callable[[str], Path], canvas: np.ndarray
) -> None:
    plain = onnxruntime.InferenceSession(str(weights_of("retinaface")), providers=["CPUExecutionProvider"])
    pixels = (canvas.astype(np.float32) - (104, 117, 123)).astype(np.float32)
    outputs = plain.run(None, {"input": pixels.transpose(2, 0, 1)[None]})
    codes, scores, points = (torch.from_numpy(output[0]) for output in outputs)
    priors = torch.tensor(
        [
            [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
            for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
            for y, x in product(np.arange(stride / 2, 640, stride), repeat=2)
            for side in sides
        ],
        dtype=torch.float32,
    )
    # Variances of 0.1 and 0.2 are weights of 10 and 5. A landmark is coded as the centre of a box is.
    coder = models.detection._utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    boxes = coder.decode_single(codes, priors)
    fives = []
    for point in points.split(2, dim=1):
        around = coder.decode_single(torch.cat([point, torch.zeros_like(point)], dim=1), priors)
        fives.append((around[:, :2] + around[:, 2:]) / 2)
    sides = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    kept = cv2.dnn.NMSBoxes(sides.tolist(), scores[:, 1].tolist(), 0.5, 0.4)
    expected = torch.cat([boxes, *fives, scores[:, 1:]], dim=1)[kept].numpy()
    [faces] = detector_of("retinaface").faces([canvas])
    assert len(faces) == 6
    np.testing.assert_allclose(table(faces), expected[np.argsort(expected[:, 0])], atol=0.01)


# ---------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("name", NAMES)
def test_drawn_faces_are_found_and_no_others(
    name: str, detector_of: Callable[[str], FaceDetector], drawn: list[tuple[bool, np.ndarray]]
) -> None:
    there = np.array([face for face, _ in drawn])
    faces = detector_of(name).detect([image for _, image in drawn])
    found = np.array([face is not None for face in faces])
    assert found[there].mean() >= 0.95
    assert found[~there].mean() <= 0.05
    assert all(0.5 <= face.score <= 1 for face in faces if face)


@pytest.mark.parametrize(
    ("name", "ferplus", "facial_expressions"),
    [("yunet", 0.96, 0.98), ("dlib", 0.82, 0.94), ("retinaface", 0.99, 0.99)],
)
def test_faces_that_fill_the_image_are_found_where_scrfd_finds_them(
    name: str,
    ferplus: float,
    facial_expressions: float,
    detector_of: Callable[[str], FaceDetector],
    published: dict[str, tuple[list[np.ndarray], list[Detection | None]]],
) -> None:
    rates = {"ferplus/FER2013Valid": ferplus, "facial_expressions/images": facial_expressions}
    for folder, least in rates.items():
        images, of_scrfd = published[folder]
        found = detector_of(name).detect(images)
        assert np.mean([face is not None for face in found]) >= least
        pairs = [
            (face.landmarks, other.landmarks)
            for face, other in zip(found, of_scrfd, strict=True)
            if face and other
        ]
        apart = [
            np.linalg.norm(one - other, axis=1).mean() / np.linalg.norm(other[0] - other[1])
            for one, other in pairs
        ]
        assert np.median(apart) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_one_detector_serves_many_threads(
    name: str, detector_of: Callable[[str], FaceDetector], drawn: list[tuple[bool, np.ndarray]]
) -> None:
    chunks = [[image for _, image in drawn[i : i + 2]] for i in range(0, 12, 2)]
    detector = detector_of(name)
    alone = [detector.detect(chunk) for chunk in chunks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.detect, chunks))
    for one, other in zip(chain(*alone), chain(*together), strict=True):
        assert (one is None) == (other is None)
        if one:
            assert np.array_equal(one.landmarks, other.landmarks)
            assert one.score == other.score


def test_the_threshold_is_a_score_for_dlib_too(
    weights_of: Callable[[str], Path], drawn: list[tuple[bool, np.ndarray]]
) -> None:
    image = next(image for face, image in drawn if face and max(image.shape) < 400)
    large = cv2.resize(image, (640, 640))
    found = {
        threshold: module("dlib").Detector(weights_of("dlib"), threshold).faces([large])[0]
        for threshold in (0.3, 0.99)
    }
    assert found[0.3]
    assert not found[0.99]
    assert all(face.score >= 0.3 for face in found[0.3])


# -------------------------------------------------------------------------------------------------- what is wrong


def test_the_list_of_detectors_is_the_folder() -> None:
    assert choices("detector") == ("dlib", "retinaface", "scrfd", "yunet")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"not a network" * 100])
def test_junk_is_refused_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"junk\.onnx: not a ") as caught:
        module(name).Detector(path, 0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_another_network_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 3, "h", "w"]) for n in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"other\.onnx: not a ") as caught:
        module(name).Detector(tmp_path / "other.onnx", 0.5)
    assert "\n" not in str(caught.value)


def test_without_dlib_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.delitem(sys.modules, "pipeline.faces.detectors.dlib", raising=False)
    with pytest.raises(UserError, match=r"pip install dlib-bin"):
        detector_module("dlib")
