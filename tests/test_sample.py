"""The embedded sample: action units, who is in which split, votes, images, the real detector."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.datasets import sample
from pipeline.intake.options import Options
from pipeline.intake.tree import open_tree
from pipeline.sample import people
from pipeline.sample.drawing import scene
from pipeline.sample.drawing.expression import EXPRESSIONS, expression
from pipeline.sample.drawing.geometry import Geometry, Proportions, geometry
from pipeline.stages import sample as stage
from pipeline.tables.vocabulary import CLASSES, SPLITS, VOTES
from tests import toy

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "models" / "detector" / "scrfd.onnx"
IMAGES, SEED = 1200, 7


@pytest.fixture(scope="module")
def planned() -> list[people.PlannedImage]:
    return people.plan(IMAGES, SEED)


@pytest.fixture(scope="module")
def subset(planned: list[people.PlannedImage]) -> list[people.PlannedImage]:
    """A few images of every class, and as many without a face."""
    of = defaultdict(list)
    for image in planned:
        of[image.shown].append(image)
    return [image for shown in (*CLASSES, None) for image in of[shown][: 8 if shown else 24]]


@pytest.fixture(scope="module")
def drawn(subset: list[people.PlannedImage]) -> list[bytes]:
    return list(people.rendered([image.scene for image in subset], workers=2))


def test_names_are_those_of_the_contract() -> None:
    assert set(EXPRESSIONS) == set(CLASSES)


# ------------------------------------------------------------------------------------------- action units


def face(*units: int, left: float = 1.0, right: float = 1.0) -> Geometry:
    return geometry(Proportions(), dict.fromkeys(units, (left, right)))


REST = face()


def test_unit_1_raises_inner_brows_and_2_outer_brows() -> None:
    for side in (0, 1):
        inner, outer = face(1).brows[side], face(2).brows[side]
        rest = REST.brows[side]
        assert inner[0, 1] < rest[0, 1] - 0.05
        assert abs(inner[-1, 1] - rest[-1, 1]) < 0.03
        assert outer[-1, 1] < rest[-1, 1] - 0.05
        assert abs(outer[0, 1] - rest[0, 1]) < 0.03


def test_unit_4_lowers_inner_brows_and_draws_them_together() -> None:
    left, right = face(4).brows
    assert left[0, 1] > REST.brows[0][0, 1] + 0.05
    assert right[0, 0] - left[0, 0] < REST.brows[1][0, 0] - REST.brows[0][0, 0]


def test_units_1_and_4_together_slant_the_brows() -> None:
    left, _ = face(1, 4).brows
    assert left[0, 1] < REST.brows[0][0, 1]
    assert left[0, 1] < left[12, 1] + 0.02


@pytest.mark.parametrize(("unit", "opens"), [(5, True), (6, False), (7, False), (43, False)])
def test_eyes_open_and_narrow(unit: int, opens: bool) -> None:
    def area(shape: Geometry) -> float:
        return sum(cv2.contourArea(eye.opening.astype(np.float32)) for eye in shape.eyes)

    assert area(face(unit)) > 1.2 * area(REST) if opens else area(face(unit)) < 0.9 * area(REST)


def test_unit_9_raises_the_wings_of_the_nose_and_the_upper_lip() -> None:
    assert (face(9).nose_wings[:, 1] < REST.nose_wings[:, 1] - 0.02).all()
    assert face(9).mouth.upper_outer[20, 1] < REST.mouth.upper_outer[20, 1] - 0.03


def test_unit_12_raises_and_15_lowers_the_corners_of_the_mouth() -> None:
    rest = REST.mouth.corners
    up, down, wide = face(12).mouth.corners, face(15).mouth.corners, face(20).mouth.corners
    assert (up[:, 1] < rest[:, 1] - 0.05).all()
    assert (np.abs(up[:, 0]) > np.abs(rest[:, 0]) + 0.03).all()
    assert (down[:, 1] > rest[:, 1] + 0.05).all()
    assert (np.abs(wide[:, 0]) > np.abs(rest[:, 0]) + 0.05).all()


def test_units_16_25_and_26_open_the_mouth_and_only_26_lowers_the_chin() -> None:
    for unit in (16, 25, 26):
        assert face(unit).mouth.gap > REST.mouth.gap + 0.03
    chin = REST.outline[:, 1].max()
    assert face(26).outline[:, 1].max() > chin + 0.1
    assert face(25).outline[:, 1].max() == pytest.approx(chin)


def test_unit_23_thins_the_lips() -> None:
    def red(shape: Geometry) -> float:
        return float(shape.mouth.lower_outer[20, 1] - shape.mouth.upper_outer[20, 1])

    assert red(face(23)) < 0.7 * red(REST)


def test_a_unit_shown_on_one_side_leaves_the_other_side_alone() -> None:
    shape = geometry(Proportions(), expression("contempt", 1.0, side=1))
    assert shape.mouth.corners[0] == pytest.approx(REST.mouth.corners[0])
    assert shape.mouth.corners[1, 1] < REST.mouth.corners[1, 1] - 0.05


def test_faces_at_rest_are_symmetric_and_a_stronger_unit_moves_further() -> None:
    assert REST.mouth.upper_outer == pytest.approx(REST.mouth.upper_outer[::-1] * (-1, 1))
    assert REST.eyes[0].opening == pytest.approx(REST.eyes[1].opening * (-1, 1))
    heights = [face(12, left=i, right=i).mouth.corners[0, 1] for i in (0.0, 0.3, 0.6, 1.0)]
    assert heights == sorted(heights, reverse=True)


# --------------------------------------------------------------------------------------------- the plan


def test_nobody_is_in_two_splits(planned: list[people.PlannedImage]) -> None:
    splits = defaultdict(set)
    for image in planned:
        splits[image.group].add(image.split)
    assert all(len(of) == 1 for of in splits.values())
    assert len([group for group in splits if group.startswith("person")]) >= 100


def test_ten_annotators_vote_and_mostly_see_what_is_shown(planned: list[people.PlannedImage]) -> None:
    faces = [image for image in planned if image.shown]
    assert all(sum(image.votes) == 10 and min(image.votes) >= 0 for image in planned)
    right = [VOTES[int(np.argmax(image.votes))] == image.shown for image in faces]
    assert 0.95 <= np.mean(right) < 1
    divided = [max(image.votes) <= 6 for image in faces]
    assert 0.05 <= np.mean(divided) <= 0.11
    assert any(image.votes[VOTES.index("unknown")] for image in faces)
    assert all(image.votes[VOTES.index("NF")] >= 8 for image in planned if not image.shown)


@pytest.mark.parametrize("images", [200, IMAGES, 3001])
def test_classes_are_as_in_ferplus_and_none_is_missing_from_a_split(images: int) -> None:
    planned = people.plan(images, SEED)
    assert len(planned) == len({image.name for image in planned}) == images
    shown = Counter((image.split, image.shown) for image in planned)
    assert all(shown[split, name] >= 3 for split in SPLITS for name in (*CLASSES, None))
    total = Counter(image.shown for image in planned)
    assert total.most_common(2)[0][0] == "neutral"
    assert total["happiness"] > total["surprise"] >= total["sadness"] > total["anger"] >= total["contempt"]
    by_split = Counter(image.split for image in planned)
    assert by_split["train"] / images == pytest.approx(0.70, abs=0.03 if images > 200 else 0.08)
    assert by_split["valid"] == by_split["test"]


def test_every_class_has_clear_images(planned: list[people.PlannedImage]) -> None:
    clear = Counter(image.shown for image in planned if image.shown and max(image.votes) >= 7)
    assert all(clear[name] >= 20 for name in CLASSES)
    assert clear["fear"] >= 30
    assert clear["disgust"] >= 30


def test_another_seed_is_another_sample() -> None:
    assert people.plan(200, 1) == people.plan(200, 1)
    assert people.plan(200, 1) != people.plan(200, 2)


# ------------------------------------------------------------------------------------------- the images


def test_bytes_depend_on_the_task_alone(subset: list[people.PlannedImage], drawn: list[bytes]) -> None:
    again = list(range(0, len(subset), 5))[::-1]
    assert list(people.rendered([subset[i].scene for i in again], workers=1)) == [drawn[i] for i in again]
    assert len(set(drawn)) == len(drawn)


def test_images_are_colour_scenes_of_160_to_640_pixels(drawn: list[bytes]) -> None:
    sides = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape for data in drawn]
    assert all(160 <= max(shape[:2]) <= 640 and shape[2] == 3 for shape in sides)
    assert len(set(sides)) > len(sides) / 2


def test_the_real_detector_finds_the_faces_and_no_others(
    subset: list[people.PlannedImage], drawn: list[bytes]
) -> None:
    if not WEIGHTS.is_file():
        pytest.skip(f"no weights at {WEIGHTS}: `fer align sample` fetches them")
    from pipeline.faces.detectors.scrfd import Detector

    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in drawn]
    found = np.array([face is not None for face in Detector(WEIGHTS, 0.5).detect(images)])
    there = np.array([image.shown is not None for image in subset])
    assert found[there].mean() >= 0.95
    assert found[~there].mean() <= 0.05


# --------------------------------------------------------------------------------------------- the folder


@pytest.fixture
def unshaded(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Drawing replaced by one small file: these tests are about the folder."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    monkeypatch.setattr(people, "rendered", lambda scenes, workers: (data for _ in scenes))
    return data


def test_the_stage_writes_a_table_that_the_adapter_reads(
    project: Path, unshaded: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("images: 1200", "images: 200"))
    stage.run(params.load())
    folder = project / "data" / "raw" / "sample"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "images", "labels.csv"]
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "split", "group", *VOTES]
    assert len(rows) == 201
    listing = sample.records(open_tree(folder), Options())
    assert (len(toy.listed(listing)), len(listing.rejected)) == (200, 0)
    assert listing.notes["images_without_row"] == 0
    assert "200 images (neutral" in capsys.readouterr().out
    assert list((project / "data" / "raw").iterdir()) == [folder]


def test_a_failed_run_keeps_the_earlier_sample(
    tmp_path: Path, unshaded: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "raw" / "sample"
    people.generate(folder, 200, 1)
    before = (folder / "labels.csv").read_bytes()

    def full(scenes: list[scene.Scene], workers: int):
        yield unshaded
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(people, "rendered", full)
    with pytest.raises(UserError, match="sample: cannot be written: No space left on device"):
        people.generate(folder, 200, 2)
    assert (folder / "labels.csv").read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]
