"""`fer predict`: the probabilities of `evaluate`, several faces in an image, videos, and unreadable files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from insightface.data import get_image
from insightface.model_zoo import SCRFD
from typer.testing import CliRunner, Result

from pipeline import cli, params
from pipeline.core.errors import UserError
from pipeline.faces.crowd import all_faces
from pipeline.faces.detectors import scrfd
from pipeline.inference import published
from pipeline.intake.image import decode_ingested
from pipeline.params.model import Params
from pipeline.prediction import Predictor
from pipeline.prediction import predictor as prediction_module
from pipeline.prediction.annotate import marked
from pipeline.prediction.face_finder import read
from pipeline.prediction.sources import InputImage, Source, images, listed
from pipeline.sample.drawing import scene
from pipeline.sample.drawing.expression import expression
from pipeline.stages import align, evaluate, ingest, label
from pipeline.tables import paths, store
from tests import odd_images as odd
from tests import toy

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("FER_SHARED", ROOT.parent / "shared")) / "data/facial_expressions"
SHARED = SHARED if SHARED.is_dir() else ROOT / "data/raw/facial_expressions"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs facial_expressions in {SHARED}")
NAMES = ["neutral", "happiness", "surprise"]


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """insightface's photo of six people, BGR."""
    return get_image("t1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_file: Path) -> Path:
    """The current folder, with params.yaml and the detector's weights."""
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    paths.DETECTORS.mkdir(parents=True)
    shutil.copy(weights_file, paths.DETECTORS)
    toy.set_params(
        tmp_path,
        **{"model": "light", "gan": "none", "classes": NAMES, "gans.classes": NAMES, "evaluate.bootstrap": 0},
    )
    return tmp_path


def save_model(p: Params, faces: np.ndarray | None = None) -> None:
    """Write an untrained model. Its batch norm has statistics of some faces, so that its logits differ."""
    torch.manual_seed(1)
    network = toy.network(p)
    if faces is not None:
        network.train()
        with torch.no_grad():
            for _ in range(40):
                network(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255)
        network.head.weight.data *= 20
    toy.save_model(p, network)


@pytest.fixture
def model(project: Path) -> Path:
    save_model(params.load())
    return paths.CLASSIFIER


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["predict", *arguments])


def drawn_scenes(folder: Path, count: int) -> None:
    """Write scenes in folders named after classes. Every fifth scene has no person."""
    for i in range(count):
        name = NAMES[i % len(NAMES)]
        person = None if i % 5 == 4 else (i,)
        (folder / name).mkdir(parents=True, exist_ok=True)
        content = scene.Scene((7, i), person, expression(name, 0.8) if person else {})
        (folder / name / f"{i:02}.jpg").write_bytes(scene.render(content))


def evaluated(dataset: str) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """Return the stages' probabilities and aligned face of each image of a data set."""
    p = params.load()
    ingest.run(p, dataset)
    align.run(p, dataset)
    label.run(p)
    aligned = store.Faces(paths.ALIGNED / f"{dataset}.arrow")
    save_model(p, np.stack([aligned[row] for row in range(len(aligned))]))
    evaluate.run(p)
    found = pq.read_table(paths.PREDICTIONS).to_pylist()
    faces = {name: aligned[row].tobytes() for row, name in enumerate(aligned.ids())}
    return {row["id"]: np.array(row["probabilities"]) for row in found}, faces


def check_equal(
    dataset: str, folder: Path, probabilities: dict[str, np.ndarray], faces: dict[str, bytes]
) -> None:
    """Compare with the predictions for the same files, with all faces and several processes."""
    predictor = Predictor.load(paths.CLASSIFIER)
    seen = 0
    for prediction in predictor.stream(images(listed([folder]))):
        name = f"{dataset}/{Path(prediction.image.source.path).relative_to(folder).as_posix()}"
        (main,) = [one for one in prediction.faces if one.face.main]
        if name in probabilities:
            assert main.face.pixels.tobytes() == faces[name]
            np.testing.assert_allclose(main.probabilities, probabilities[name], atol=1e-4)
            seen += 1
    assert seen == len(probabilities)
    spread = np.array(list(probabilities.values())).std(axis=0)
    assert spread.max() > 0.05, "the images must differ for the comparison to say anything"


def test_drawn_scenes_get_the_probabilities_of_evaluate(project: Path, monkeypatch) -> None:
    folder = Path("data/raw/folder")
    drawn_scenes(folder, 11)
    grey = cv2.imread(str(folder / "neutral/00.jpg"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "neutral/grey.png"), grey)  # ingest decodes it with another library
    toy.set_params(project, datasets=["folder"])
    monkeypatch.setattr(prediction_module, "CHUNK", 5)  # several chunks, with other sizes than in align
    check_equal("folder", folder, *evaluated("folder"))


@real
def test_real_images_get_the_probabilities_of_evaluate(project: Path, monkeypatch) -> None:
    with (SHARED / "data/legend.csv").open() as file:
        header, *lines = file.read().splitlines()
    root = Path("data/raw/facial_expressions")
    for name in ("data", "images"):
        (root / name).mkdir(parents=True)
    lines = [line for line in lines if line.split(",")[2].lower() in NAMES][::60]
    (root / "data/legend.csv").write_text("\n".join([header, *lines]) + "\n")
    for line in lines:
        shutil.copy(SHARED / "images" / line.split(",")[1], root / "images")
    toy.set_params(project, datasets=["facial_expressions"])
    monkeypatch.setattr(prediction_module, "CHUNK", 9)
    check_equal("facial_expressions", root / "images", *evaluated("facial_expressions"))


def test_crops_are_those_of_evaluate(project: Path) -> None:
    folder = Path("data/raw/folder")
    drawn_scenes(folder, 4)
    toy.set_params(project, datasets=["folder"], **{"evaluate.ten_crop": True})
    probabilities, _ = evaluated("folder")
    table = Predictor.load(paths.CLASSIFIER, crops="ten", faces="main").predict(folder)
    for row in table.to_dict("records"):
        wanted = probabilities[f"folder/{Path(row['source']).relative_to(folder).as_posix()}"]
        np.testing.assert_allclose([row[f"p_{name}"] for name in NAMES], wanted, atol=1e-4)


@pytest.mark.parametrize("side", [1280, 640, 330])
def test_all_faces_are_found_and_the_first_is_training_s(
    weights_file: Path, photo: np.ndarray, side: int
) -> None:
    image = cv2.resize(photo, (side, round(side * 886 / 1280)), interpolation=cv2.INTER_AREA)
    detector = scrfd.Detector(weights_file, 0.5)
    (faces,) = all_faces(detector, [image])
    (main,) = detector.detect([image])
    assert main is not None
    assert faces[0].box.tobytes() == main.box.tobytes()
    assert faces[0].landmarks.tobytes() == main.landmarks.tobytes()

    theirs = SCRFD(str(weights_file))  # the same weights with their authors' code
    theirs.prepare(-1, input_size=(640, 640), det_thresh=0.5)
    boxes, _ = theirs.detect(image)
    assert len(faces) == len(boxes) == 6
    for x1, y1, x2, y2, _ in boxes:
        middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        near = [np.abs((face.box[:2] + face.box[2:]) / 2 - middle).max() / (x2 - x1) for face in faces]
        assert min(near) < 0.15


def test_an_image_with_several_faces_has_a_row_for_each(model: Path, photo: np.ndarray) -> None:
    alone, empty = photo[240:440, 430:600], np.full((60, 200, 3), 90, np.uint8)
    table = Predictor.load(model).predict([photo, empty, alone])
    assert table["source"].tolist() == ["0"] * 6 + ["1", "2"]
    assert table["face"].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert table["status"].tolist() == ["found"] * 6 + ["whole", "found"]
    assert table["x1"][:6].is_monotonic_increasing
    assert table.groupby("source")["main"].sum().tolist() == [1, 1, 1]
    assert table["x1"].isna().tolist() == [False] * 6 + [True, False]
    shares = table[[f"p_{name}" for name in NAMES]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(table["probability"], shares.max(axis=1))
    assert (shares.idxmax(axis=1) == "p_" + table["label"]).all()

    main = Predictor.load(model, faces="main").predict([photo, empty, alone])
    pd.testing.assert_frame_equal(
        main.drop(columns="face"), table[table["main"]].reset_index(drop=True).drop(columns="face")
    )


def test_the_model_that_comes_with_the_project_sees_who_smiles(project: Path, photo: np.ndarray) -> None:
    cv2.imwrite("photo.png", photo)
    done = run("photo.png", "--model", "ferplus", "--output", "faces.csv")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0] == "predict: the model ferplus learned from the data set ferplus"
    # Six people from left to right, as we see them: the third, fourth and sixth smile.
    assert [*pd.read_csv("faces.csv")["label"]] == [
        *("neutral", "neutral", "happiness"),
        *("happiness", "neutral", "happiness"),
    ]


def test_the_card_of_a_published_model_names_its_file() -> None:
    for name in published.names():
        data = published.located(name).read_bytes()
        card = (published.FOLDER / f"{name}.md").read_text(encoding="utf-8")
        assert f"{len(data):,} bytes" in card
        assert hashlib.sha256(data).hexdigest() in card


def test_an_image_without_a_face_is_missing_where_training_dropped_it(project: Path) -> None:
    toy.set_params(project, **{"align.missing": "drop", "align.landmarks": "given"})
    save_model(params.load())
    table = Predictor.load(paths.CLASSIFIER).predict([np.zeros((1, 1, 3), np.uint8)])
    assert table["status"].tolist() == ["missing"]
    assert table[["face", "main", "label", "p_neutral", "x1"]].isna().all(axis=None)


def _plain(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    for row in table.to_dict("records"):
        yield {name: None if pd.isna(value) else value for name, value in row.items()}


def test_formats_hold_the_same(model: Path, photo: np.ndarray) -> None:
    Path("in/sub").mkdir(parents=True)
    cv2.imwrite("in/sub/six.png", photo)
    Path("in/a.jpg").write_bytes(b"no image")
    Path("in/notes.txt").write_text("passed over")
    wanted = Predictor.load(model).predict("in")
    assert wanted["status"].tolist() == ["unreadable"] + ["found"] * 6
    assert "not an image" in wanted["reason"][0]

    for name in ("new/a.csv", "a.json", "a.parquet"):
        assert run("in", "--output", name).exit_code == 0, "the user did not name the bad file"
    from_csv = pd.read_csv("new/a.csv", dtype=wanted.dtypes.to_dict())
    pd.testing.assert_frame_equal(from_csv, wanted, atol=1e-6)
    assert pq.read_table("a.parquet").to_pylist() == list(_plain(wanted))
    objects = json.loads(Path("a.json").read_text())
    assert objects[0]["box"] is objects[0]["probabilities"] is None
    assert [sorted(row["probabilities"]) for row in objects[1:]] == [sorted(NAMES)] * 6
    np.testing.assert_allclose(
        [row["box"] for row in objects[1:]], wanted[["x1", "y1", "x2", "y2"]][1:], rtol=1e-6
    )

    assert run("in", "--output", "-").stdout == Path("new/a.csv").read_text()
    done = run("in")
    for row in objects[1:]:
        box = " ".join(f"{edge:.1f}" for edge in row["box"])
        main = " (main)" if row["main"] else ""
        assert (
            f"face {row['face']}{main}, box {box}, score {row['score']:.3f}: "
            f"{row['label']} {row['probability']:.3f}\n  {NAMES[0]} {row['probabilities'][NAMES[0]]:.3f}, "
        ) in done.stdout
    assert done.stdout.startswith(f"{objects[0]['source']}: unreadable: {objects[0]['reason']}\n")
    assert "1 images, 6 faces" in done.stderr
    assert "in/a.jpg: not an image" in done.stderr
    assert done.stderr.startswith(
        f"predict: the model {model} learned from drawn faces only and is of no use on photographs"
    )


@pytest.mark.parametrize("colour", [True, False])
def test_images_are_decoded_as_align_does(tmp_path: Path, colour: bool) -> None:
    files = [odd.encoded(odd.alpha(), "PNG"), odd.deep_png(colour=colour), odd.turned("JPEG", 6)]
    files += [odd.encoded(odd.smooth(1).convert("L" if not colour else "P"), "PNG")]
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        np.testing.assert_array_equal(read(InputImage(listed([path])[0])), decode_ingested("image", data))


BAD: dict[str, Callable[[Path], object]] = {
    "does not exist": lambda path: None,
    "0 bytes|not an image": lambda path: path.write_bytes(b""),
    "not an image": lambda path: path.write_bytes(b"GIF is only the name"),
    "damaged or cut short|cannot be decoded": lambda path: path.write_bytes(
        odd.encoded(odd.smooth(1), "PNG")[:60]
    ),
    "allowed: at most": lambda path: path.write_bytes(odd.bomb("PNG")),
    "allowed: one": lambda path: path.write_bytes(odd.animation("GIF")),
    "a folder without images": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("why", BAD)
def test_what_cannot_be_read_is_listed_and_the_rest_is_written(model: Path, why: str) -> None:
    BAD[why](Path("bad.png"))
    cv2.imwrite("good.png", odd.pixels(1, 1, 1))
    done = run("bad.png", "good.png", "--output", "out.csv")
    assert done.exit_code == 1
    assert str(done.exception) == "1 of 2 files could not be read; the others are written"
    with open("out.csv") as file:
        bad, good = csv.DictReader(file)
    assert (bad["status"], good["status"]) == ("unreadable", "whole")
    assert any(part in bad["reason"] for part in why.split("|"))
    assert f"bad.png: {bad['reason']}" in " ".join(done.stderr.split())
    assert str(run("bad.png").exception) == "none of 1 files could be read"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "found neither, allowed: names of images, videos and folders, or --camera 0"),
        (("a.png", "--camera", "0"), "found both, allowed: names of images, videos and folders, or --camera 0"),
        (("a.png", "--output", "a.xlsx"), "--output: found 'a.xlsx', allowed: a file whose name ends in"),
        (("a.png", "--model", "none.safetensors"), "none.safetensors: found no file, expected: a model"),
        (("a.png", "--model", "params.yaml"), "params.yaml: not a classifier of this project, "),
        (("a.png", "--device", "cuda"), "device: found cuda, allowed: auto or cpu, as torch sees no GPU here"),
        (("a.png", "--annotate", "."), "--annotate: a.png is an image or video to be read; name another folder"),
        (("a.png", "b/a.png", "--annotate", "c"), "--annotate: a.png and b/a.png would both become c/a.png; name"),
        (("a.png", "--annotate", "params.yaml"), "params.yaml/a.png: cannot be written"),
        (("a.png", "--output", "params.yaml/a.csv"), "params.yaml/a.csv: cannot be written"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(
    model: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("b").mkdir()
    for name in ("a.png", "b/a.png"):
        cv2.imwrite(name, odd.pixels(1))
    done = run(*arguments)
    assert done.exit_code == 1
    assert isinstance(done.exception, UserError), done.exception
    assert str(done.exception).startswith(said)
    assert not Path("a.csv").exists()


def test_a_failure_leaves_an_earlier_output(model: Path, monkeypatch) -> None:
    Path("out.csv").write_text("precious")
    cv2.imwrite("a.png", odd.pixels(1))
    monkeypatch.setattr(
        prediction_module, "probabilities", lambda *_: np.full((1, len(NAMES)), np.nan, np.float32)
    )
    assert "training diverged" in str(run("a.png", "--output", "out.csv").exception)
    assert Path("out.csv").read_text() == "precious"


def film(path: str, photo: np.ndarray, frames: int = 12) -> None:
    """Write a film of the six people passing by, with 10 frames per second."""
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (400, 300))
    for i in range(frames):
        writer.write(cv2.resize(photo[:, 30 * i : 30 * i + 900], (400, 300)))
    writer.release()


def test_a_video_is_predicted_frame_by_frame(model: Path, photo: np.ndarray) -> None:
    film("film.avi", photo)
    capture = cv2.VideoCapture("film.avi")
    frames = [capture.read()[1] for _ in range(12)]
    predictor = Predictor.load(model)
    table = predictor.predict(["film.avi"], every=5)
    assert sorted(set(zip(table["frame"], table["time"], strict=True))) == [(0, 0.0), (5, 0.5), (10, 1.0)]
    alone = predictor.predict(frames[::5])
    assert len(alone) > 6
    pd.testing.assert_frame_equal(table.iloc[:, 3:], alone.iloc[:, 3:])

    assert run("film.avi", "--every", "5", "--annotate", "out", "--output", "a.csv").exit_code == 0
    marked_film = cv2.VideoCapture("out/film.avi.mp4")
    assert marked_film.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert marked_film.get(cv2.CAP_PROP_FPS) == 2
    assert os.listdir("out") == ["film.avi.mp4"]


def test_a_video_may_have_any_name_that_a_camera_or_a_person_gives(model: Path, photo: np.ndarray) -> None:
    film("film.avi", photo, 2)
    os.rename("film.avi", "GOPR0001.MP4")
    assert run("GOPR0001.MP4", "--annotate", "out", "--output", "a.csv").exit_code == 0
    assert os.listdir("out") == ["GOPR0001.MP4"]

    Path("in").mkdir()
    shutil.copy("GOPR0001.MP4", b"in/M\xfcller.mp4")  # Latin-1, as an old archive has it
    cv2.imwrite("in/a.png", photo)
    done = run("in", "--output", "b.csv")
    assert "has a path that is not UTF-8, which OpenCV cannot open" in done.stderr
    rows = pd.read_csv("b.csv", encoding_errors="replace")
    assert len(rows[rows["source"] == "in/a.png"]) == 6
    done = run("GOPR0001.MP4", "--annotate", os.fsdecode(b"m\xfc"), "--output", "c.csv")
    assert "is not UTF-8, so OpenCV cannot write a video there" in str(done.exception)


def test_drawings_of_the_longest_names_are_written_apart(model: Path, photo: np.ndarray) -> None:
    film("film.avi", photo, 2)
    Path("in").mkdir()
    same = "é" * 124  # 248 bytes
    for ending in ("a.webp", "b.webp", ".png"):
        Path(f"in/{same}{ending}").write_bytes(cv2.imencode(".png", photo)[1].tobytes())
    os.rename("film.avi", f"in/{same}c.avi")
    done = run("in", "--annotate", "out", "--explain", "why", "--output", "a.csv")
    assert done.exit_code == 0, done.stderr
    names = sorted(os.listdir("out"))
    assert len(names) == 4
    assert [name[-4:] for name in names].count(".mp4") == 1
    assert len(os.listdir("why")) == len(pd.read_csv("a.csv"))


def test_a_folder_is_searched_through_links_and_each_image_counts_once(
    model: Path, photo: np.ndarray
) -> None:
    for name in ("in/more", "elsewhere/deep", "in/@eaDir/a.png"):
        Path(name).mkdir(parents=True)
    for name in ("in/a.png", "in/more/b.jfif", "elsewhere/deep/c.jpe", "in/@eaDir/a.png/thumb.png"):
        Path(name).write_bytes(cv2.imencode(".jpg", photo)[1].tobytes())
    Path("in/more/d.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    Path("in/link").symlink_to("../elsewhere")
    Path("in/again").symlink_to("more")
    Path("elsewhere/up").symlink_to("../in")
    done = run("in", "--output", "a.csv")
    assert done.exit_code == 0
    assert "in/more/d.HEIC: not an image; allowed: PNG, JPEG" in done.stderr
    found = pd.read_csv("a.csv")["source"].map(os.path.basename)
    assert sorted(set(found)) == ["a.png", "b.jfif", "c.jpe", "d.HEIC"]
    assert len(found) == 19


def test_what_is_too_large_is_one_line_before_it_is_read(model: Path, photo: np.ndarray, monkeypatch) -> None:
    with open("big.png", "wb") as file:
        file.truncate(40 * 10**9)  # sparse
    Path("flat.png").write_bytes(odd.bomb("PNG"))
    film("film.avi", photo)
    cv2.imwrite("a.png", odd.pixels(1))
    monkeypatch.setattr("pipeline.intake.image.MOST_PIXELS", 400 * 300 - 1)
    done = run("big.png", "flat.png", "film.avi", "a.png", "--output", "a.csv", "--memory", "0.001")
    assert str(done.exception) == "3 of 4 files could not be read; the others are written"
    for line in (
        "big.png: found 40,000,000,000 bytes, allowed: at most 268,435,456",
        "flat.png: found 20000 x 20000 pixels, allowed: at most 119,999",
        "film.avi: found 400 x 300 pixels, allowed: at most 119,999",
    ):
        assert line in done.stderr.splitlines()


def test_a_video_that_is_cut_short_gives_what_it_has(model: Path, photo: np.ndarray) -> None:
    film("film.avi", photo)
    data = Path("film.avi").read_bytes()
    Path("film.avi").write_bytes(data[: len(data) // 2])
    Path("none.mp4").write_bytes(b"no film")
    done = run("film.avi", "none.mp4", "--faces", "main", "--output", "a.csv")
    assert done.exit_code == 1
    table = pd.read_csv("a.csv")
    assert 2 < (table["status"] == "found").sum() < 10
    bad = table[table["status"] == "unreadable"]
    assert "of 12 frames" in bad["reason"].iloc[0]
    assert bad["reason"].iloc[1] == "cannot be opened as a video"


def test_ctrl_c_ends_a_camera_and_breaks_off_a_video(model: Path, photo: np.ndarray, monkeypatch) -> None:
    film("film.avi", photo)  # stands for the device
    capture = cv2.VideoCapture

    monkeypatch.setattr(prediction_module, "CHUNK", 2)
    monkeypatch.setattr(prediction_module, "cores", lambda: 1)

    class Interrupted:
        def __init__(self, address: str) -> None:
            self.film, self.left = capture(address), 4

        def grab(self) -> bool:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.film.grab()

        def __getattr__(self, name: str) -> object:
            return getattr(self.film, name)

    monkeypatch.setattr("pipeline.prediction.sources.cv2.VideoCapture", Interrupted)
    stopped = run("film.avi", "--annotate", "out", "--output", "a.json")
    assert stopped.exit_code == 130
    assert not Path("a.json").exists()
    assert os.listdir("out") == []
    arguments = ("--camera", "film.avi", "--annotate", "out", "--output", "a.json", "--faces", "main")
    assert run(*arguments).exit_code == 0
    rows = json.loads(Path("a.json").read_text())
    assert [row["frame"] for row in rows] == [0, 1, 2, 3]
    assert all(row["time"] >= 0 for row in rows)
    assert os.listdir("out") == ["camera-film-avi.mp4"]
    assert capture("out/camera-film-avi.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_no_camera_is_one_line(model: Path) -> None:
    done = run("--camera", "99")
    assert str(done.exception) == "none of 1 files could be read"
    assert "99: cannot be opened as a camera" in done.stderr


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 400), (400, 20), (900, 1200)])
def test_marks_can_be_read_and_stay_in_the_image(model: Path, height: int, width: int) -> None:
    image = np.full((height, width, 3), 128, np.uint8)
    predictor = Predictor.load(model)
    seen = InputImage(Source("a.png", "image", Path("a.png")), pixels=image)
    (prediction,) = predictor.stream([seen])
    canvas = marked(image, prediction.faces)
    assert max(canvas.shape[:2]) >= 480
    assert canvas.shape[0] * width == canvas.shape[1] * height
    assert (image == 128).all()
    assert (canvas != 128).any(axis=2).mean() > 0.005


def test_a_folder_s_odd_files_are_listed(model: Path) -> None:
    Path("in").mkdir()
    os.mkfifo("in/pipe.jpg")
    os.mkfifo("in/pipe.mp4")
    Path("in/link.png").symlink_to("nowhere")
    Path("in/loop").symlink_to(".")
    for name in ("new\nline.png", "a;=1+1.png"):
        cv2.imwrite(f"in/{name}", odd.pixels(1))
    done = run("in", "x" * 300, '=HYPERLINK("http:,,x","y").jpg', "--output", "a.csv")
    table = pd.read_csv("a.csv")
    assert dict(zip(table["source"].str.removeprefix("in/"), table["reason"].fillna(""), strict=True)) == {
        "a;'=1+1.png": "",
        "link.png": "does not exist",
        "new\\nline.png": "",
        "pipe.jpg": "is not a file",
        "pipe.mp4": "is not a file",
        "x" * 300: "does not exist",
        """'=HYPERLINK("http:,,x","y").jpg""": "does not exist",
    }
    assert str(done.exception) == "5 of 7 files could not be read; the others are written"
