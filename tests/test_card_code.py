"""The code on the model card, in an environment without this package: it gives the pipeline's probabilities."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from insightface.data import get_image
from scipy.ndimage import map_coordinates
from skimage.transform import SimilarityTransform
from typer.testing import CliRunner

from pipeline import params
from pipeline.cli import app
from pipeline.core.files import md5_of, write_json
from pipeline.export import onnx as exporting
from pipeline.export.lineage import Lineage, Stage
from pipeline.export.metadata import metadata
from pipeline.export.usage import usage
from pipeline.faces.crowd import all_faces
from pipeline.faces.detection import Detection
from pipeline.faces.detectors import scrfd
from pipeline.faces.extraction import cut
from pipeline.inference.model_file import TrainedModel
from pipeline.params.model import Align
from pipeline.stages import align, evaluate, ingest, label
from pipeline.stages.train import trained_model
from pipeline.tables import paths, store
from pipeline.tables.schema import channels
from tests import toy

NAMES = ["neutral", "happiness", "surprise"]
FACES = 170
# What the code needs, and nothing that these packages do not come with.
PACKAGES = ("numpy", "numpy.libs", "cv2", "opencv_python_headless.libs", "onnxruntime")
# Runs pieces of code in turn, each with its own images, and keeps what they return.
DRIVER = """
import importlib.util
import sys

sys.path.append(sys.argv[1])
assert not [name for name in ("pipeline", "torch", "PIL") if importlib.util.find_spec(name)]
import numpy as np

for number in range(int(sys.argv[2])):
    given = np.load(f"{number}.npz", allow_pickle=True)
    code = {}
    exec(open(f"{number}.py", encoding="utf-8").read(), code)
    results = [
        code["probabilities"](image, **{name: value for name, value in inputs.items() if value is not None})
        for image, inputs in zip(given["images"], given["inputs"])
    ]
    np.save(f"{number}.npy", results)
"""
Image = tuple[np.ndarray, dict[str, Any]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `PACKAGES` alone."""
    folder = tmp_path_factory.mktemp("packages")
    installed = Path(np.__file__).parents[1]
    for name in PACKAGES:
        if (installed / name).exists():
            (folder / name).symlink_to(installed / name)
    return folder


@pytest.fixture
def alone(packages: Path, tmp_path: Path) -> Callable[[list[tuple[str, list[Image]]]], list[np.ndarray]]:
    """Run pieces of code with their images and inputs, without this package; return the results of each."""

    def run(pieces: list[tuple[str, list[Image]]]) -> list[np.ndarray]:
        for number, (code, given) in enumerate(pieces):
            (tmp_path / f"{number}.py").write_text(code, encoding="utf-8")
            images, inputs = np.empty(len(given), object), np.empty(len(given), object)
            images[:], inputs[:] = zip(*given, strict=True)
            np.savez(tmp_path / f"{number}.npz", images=images, inputs=inputs)
        command = [sys.executable, "-I", "-S", "-c", DRIVER, str(packages), str(len(pieces))]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [np.load(tmp_path / f"{number}.npy") for number in range(len(pieces))]

    return run


@pytest.fixture(scope="module")
def people(weights_of: Callable[[str], Path]) -> list[Image]:
    """Six people, each in a photograph with box and landmarks. Faces of 8 to 250 pixels, of which some are cut off."""
    photo = get_image("t1")
    (faces,) = all_faces(scrfd.Detector(weights_of("scrfd"), 0.5), [photo])
    rng, images = np.random.default_rng(0), []
    for number in range(FACES):
        face = faces[number % len(faces)]
        side = float(face.box[2] - face.box[0])
        size, zoom = side * rng.uniform(1, 3, 2), np.exp(rng.uniform(np.log(8), np.log(250))) / side
        corner = np.rint(face.box[:2] + side / 2 - size * rng.uniform(0.2, 0.8, 2)).astype(int).clip(0)
        width, height = np.rint(size).astype(int)
        window = photo[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
        kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        small = cv2.resize(window, None, fx=zoom, fy=zoom, interpolation=kind)
        scale = np.array(small.shape[1::-1]) / window.shape[1::-1]
        points = (face.landmarks - corner + 0.5) * scale - 0.5
        box = (face.box.reshape(2, 2) - corner) * scale
        turns = int(rng.integers(4)) if number % 4 == 3 else 0
        small, points, box = turned(small, points, box, turns)
        images.append(
            (small, {"landmarks": points.astype(np.float32).ravel(), "box": box.astype(np.float32).ravel()})
        )
    return images


def turned(
    image: np.ndarray, points: np.ndarray, box: np.ndarray, turns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image after quarter turns, anticlockwise, with its landmarks and its box."""
    for _ in range(turns):
        width = image.shape[1]
        image = np.ascontiguousarray(np.rot90(image))
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        box = np.stack([box[:, 1], width - box[:, 0]], axis=1)
        box = np.stack([box.min(axis=0), box.max(axis=0)])
    return image, points, box


def test_the_code_alone_gives_the_probabilities_of_the_run(
    project: Path, weights_here: None, people: list[Image], alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (image, _) in enumerate(people):
        file = Path("data/raw/folder", NAMES[number % 3], f"{number:03}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)
    changes = {"datasets": ["folder"], "classes": NAMES, "gan": "none", "model": "light", "workers": 1}
    toy.set_params(project, **changes, **{"evaluate.bootstrap": 0, "train.precision": "float32"})
    p = params.load()
    ingest.run(p, "folder")
    align.run(p, "folder")
    label.run(p)
    save_model(p)
    monkeypatch.setattr(evaluate, "_draw", lambda *_: None)
    evaluate.run(p)
    done = CliRunner().invoke(app, ["export"], catch_exceptions=False)
    assert done.exit_code == 0, done.output

    expected = {row["id"]: row["probabilities"] for row in pq.read_table(paths.PREDICTIONS).to_pylist()}
    faces = pa.ipc.open_file(paths.ALIGNED / "folder.arrow").read_all()
    rows = [row for row in faces.select(["id", "status", "landmarks"]).to_pylist() if row["id"] in expected]
    assert len(rows) == FACES
    assert {row["status"] for row in rows} == {"found", "whole"}
    given = [(cv2.imread(f"data/raw/{row['id']}"), {"landmarks": row["landmarks"]}) for row in rows]
    [code] = re.findall(r"```python\n(.*?)```", Path("models/classifier.card.md").read_text(), re.S)
    shutil.copy("models/classifier.onnx", ".")
    [found] = alone([(code, given)])
    wanted = np.array([expected[row["id"]] for row in rows])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert wanted.std(axis=0).max() > 0.05, "the faces must differ for the comparison to say anything"


def save_model(p: params.Params) -> None:
    """Write an untrained model whose logits differ from face to face."""
    torch.manual_seed(1)
    network = toy.network(p).train()
    faces = store.Faces(paths.ALIGNED / "folder.arrow")
    some = torch.from_numpy(np.stack([faces[row] for row in range(64)])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        for _ in range(40):
            network(some[..., 2:-2, 2:-2])
    network.head.weight.data *= 20
    toy.save_model(p, network.eval())


SETTINGS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "colour": {"colour": True},
    "zoom and lift": {"zoom": 1.37, "lift": -0.21, "face_size": 100},
    "tiny": {"face_size": 16, "zoom": 0.25},
    "large": {"face_size": 224, "colour": True, "zoom": 4.0, "lift": 0.5},
    "faces only": {"missing": "drop"},
    "box": {"mode": "crop"},
    "box, faces only": {"mode": "crop", "missing": "drop", "colour": True},
    "turned box": {"mode": "crop", "turn": True, "face_size": 65},
    "turned box, faces only": {"mode": "crop", "turn": True, "missing": "drop"},
    "whole": {"mode": "none"},
    "whole, colour": {"mode": "none", "missing": "drop", "colour": True, "face_size": 33},
}


def model_of(align: Align) -> TrainedModel:
    """Return a model with these settings."""
    return replace(trained_model(toy.PARAMS, toy.network(toy.PARAMS)), align=align)


def write_pixels_model(path: Path, align: Align) -> None:
    """Write an ONNX file whose probabilities are the pixels of the face."""
    side, depth = align.face_size, channels(align.colour)
    face = onnx.helper.make_tensor_value_info("face", onnx.TensorProto.UINT8, ["N", side, side, depth])
    flat = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", None])
    nodes = [
        onnx.helper.make_node("Flatten", ["face"], ["bytes"]),
        onnx.helper.make_node("Cast", ["bytes"], ["probabilities"], to=onnx.TensorProto.FLOAT),
    ]
    graph = onnx.helper.make_graph(nodes, "pixels", [face], [flat])
    opset = [onnx.helper.make_opsetid("", exporting.OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    path.write_bytes(exporting.with_metadata(model, metadata(model_of(align), "", Lineage({}))))


def test_the_code_cuts_out_what_align_cuts_out(people: list[Image], alone: Any, tmp_path: Path) -> None:
    pieces, wanted = [], []
    for number, changes in enumerate(SETTINGS.values()):
        align = Align.model_validate(toy.PARAMS.align.model_dump(exclude={"modes"}) | changes)
        write_pixels_model(tmp_path / f"{number}.onnx", align)
        keys = {"five_point": ["landmarks"], "crop": ["box"] + ["landmarks"] * align.turn, "none": []}[
            align.mode
        ]
        given: list[Image] = []
        faces = []
        for image, about in people[number::7]:
            face = Detection(about["box"], about["landmarks"].reshape(5, 2), 1.0)
            found = face if align.mode != "none" else None
            given.append((image, {key: about[key] for key in keys}))
            faces.append(cut(image, found, align).ravel())
        if align.missing == "keep":
            for image, about in people[:4]:  # no face was found
                given.append((image, {}))
                faces.append(cut(image, None, align).ravel())
                if align.mode != "none":
                    given.append((image, {"box": about["box"]}))
                    faces.append(cut(image, None, align, about["box"].tolist()).ravel())
        pieces.append((usage(f"{number}.onnx", align.model_dump()), given))
        wanted.append(np.stack(faces))
    for name, found, faces in zip(SETTINGS, alone(pieces), wanted, strict=True):
        np.testing.assert_array_equal(found, faces, err_msg=name)


@pytest.mark.parametrize("changes", [{}, {"colour": True, "zoom": 1.3, "lift": 0.1}])
def test_the_metadata_alone_suffice_to_cut_out_a_face(people: list[Image], changes: dict[str, Any]) -> None:
    align = Align.model_validate(toy.PARAMS.align.model_dump(exclude={"modes"}) | changes)
    about = metadata(model_of(align), "", Lineage({}))
    assert (about["interpolation"], about["border"]) == ("bilinear", "replicate")
    side = about["align"]["face_size"]
    for image, inputs in people[:40]:
        points = inputs["landmarks"].reshape(5, 2)
        to_image = np.linalg.inv(SimilarityTransform.from_estimate(points, about["reference"]).params)
        scale = 1 / np.hypot(*to_image[:2, 0])
        k = eval(about["oversampling"], {"max": max, "round": round, "scale": scale})
        # k x k samples in each pixel, whose centre has integer coordinates.
        grid = (np.arange(side * k) + 0.5) / k - 0.5
        x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
        x, y, _ = to_image @ np.stack([x, y, np.ones_like(x)])
        samples = [
            map_coordinates(image[..., channel].astype(float), [y, x], order=1, mode="nearest")
            for channel in (2, 1, 0)
        ]
        face = np.stack(samples, axis=-1).reshape(side, k, side, k, 3).mean(axis=(1, 3))
        if not align.colour:
            face = (face @ [about["grey"][name] for name in ("red", "green", "blue")])[..., None]
        wanted = cut(image, Detection(inputs["box"], points, 1.0), align)
        assert np.abs(face - wanted).max() < 4
        assert np.abs(face - wanted).mean() < 0.5


@pytest.mark.parametrize(
    ("changes", "recorded", "expected"),
    [
        ({}, [], {"name": "scrfd", "weights_sha256": scrfd.PACKAGED.sha256}),
        ({"weights": "own.onnx"}, [], {"name": "scrfd", "weights_sha256": None}),
        ({"weights": "own.onnx"}, ["ab", "ab"], {"name": "scrfd", "weights_sha256": "ab"}),
        ({"weights": "own.onnx"}, ["ab", "cd"], {"name": "scrfd", "weights_sha256": None}),
        ({"weights": "own.onnx"}, ["ab", None], {"name": "scrfd", "weights_sha256": "ab"}),
        ({"mode": "none"}, [None], None),
    ],
)
def test_the_detector_s_weights_are_those_that_align_recorded(
    project: Path, changes: dict[str, Any], recorded: list[str | None], expected: dict[str, Any] | None
) -> None:
    outs = {}
    for number, sha256 in enumerate(recorded):
        path = paths.METRICS / f"align/data{number}.json"
        write_json(path, {"images": 1} | ({"weights_sha256": sha256} if sha256 else {}))
        outs[str(path)] = md5_of(path)
    align = Align.model_validate(toy.PARAMS.align.model_dump(exclude={"modes"}) | changes)
    model = replace(model_of(align), datasets=[f"data{number}" for number in range(len(recorded))])
    assert metadata(model, "", Lineage({"align": Stage({}, outs, {})}))["detector"] == expected
