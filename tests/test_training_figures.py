"""The images of a training: the sheet shows what the network received, pixel by pixel, and results.png its curves."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pipeline import params
from pipeline.figures import training as plots
from pipeline.methods.models import Classifier
from pipeline.stages import train
from pipeline.tables import paths
from pipeline.training import engine
from tests import toy

SHEET = paths.PLOTS / "train/faces.png"
FLIPPED = [
    {"__class_fullname__": "HorizontalFlip", "p": 0.5},
    {"__class_fullname__": "RandomBrightnessContrast", "p": 0.8},
]
ALL_TRANSFORMS = {
    "augment": "mixcut",
    "align.colour": True,
    "train.resized_crop": [0.5, 1.0],
    "train.rotation": 20,
    "train.shear": 10,
    "train.translation": 0.1,
    "train.scale": 0.2,
    "train.brightness": 0.3,
    "train.contrast": 0.3,
    "train.saturation": 0.3,
    "train.hue": 0.1,
    "train.label_smoothing": 0.1,
}


class Received:
    """Record what a network receives while it learns: images [n, C, H, W] and targets before smoothing, by view."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[Tensor] = []
        self.captions: list[str] = []
        start, caption = train.starting_network, plots.target_caption

        def watched(*given: Any) -> tuple[Classifier, Any]:
            network, reports = start(*given)
            network.register_forward_pre_hook(self._note)
            return network, reports

        def noted(*given: Any) -> str:
            self.captions.append(caption(*given))
            return self.captions[-1]

        monkeypatch.setattr(train, "starting_network", watched)
        monkeypatch.setattr(plots, "target_caption", noted)

    def _note(self, network: Classifier, inputs: tuple[Tensor]) -> None:
        if network.training:
            self.images.append(inputs[0].clone())


def as_bytes(images: Tensor) -> np.ndarray:
    """Return images as RGB, uint8 [n, H, W, 3]."""
    rounded = np.rint(images.double().numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.broadcast_to(rounded, (*rounded.shape[:3], 3))


def places(sheet: np.ndarray, face: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield row and column of each place where an image holds a face, uint8 [h, w, 3], exactly."""
    height, width = face.shape[:2]
    rows, columns = np.nonzero((sheet[: 1 - height, : 1 - width] == face[0, 0]).all(2))
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        if np.array_equal(sheet[y, x : x + width], face[0]) and np.array_equal(
            sheet[y : y + height, x : x + width], face
        ):
            yield y, x


def assert_shown(received: list[Tensor], count: int) -> None:
    """Assert that the sheet has the first `count` faces of each view, in their order, and each pixel in its colour."""
    sheet = np.asarray(Image.open(SHEET).convert("RGB"))
    last = (-1, -1)
    for images in received:
        scale = round(88 / images.shape[2])
        for face in as_bytes(images[:count]):
            enlarged = np.kron(face, np.ones((scale, scale, 1), np.uint8))
            found = [place for place in places(sheet, enlarged) if place > last]
            assert found, f"after {last}"
            last = found[0]


@pytest.mark.parametrize(
    ("views", "changes"),
    [
        pytest.param(1, {"augment": "none"}, id="none"),
        pytest.param(1, {"augment": "mixcut", "augments.mixcut.probability": 1.0}, id="mixcut"),
        pytest.param(1, {"augment": "fmix", "train.sampling": "over"}, id="fmix"),
        pytest.param(2, {"augment": "mixaugment"}, id="mixaugment"),
        pytest.param(1, ALL_TRANSFORMS, id="all transforms"),
        pytest.param(1, {"augment": "none", "train.albumentations": FLIPPED}, id="albumentations"),
    ],
)
def test_the_sheet_shows_what_the_first_step_received(
    project: Path, monkeypatch: pytest.MonkeyPatch, views: int, changes: dict[str, Any]
) -> None:
    toy.write(project, **{"align.face_size": 20, "train.crop": 16, "train.batch_size": 27, **changes})
    received = Received(monkeypatch)
    seen: list[Tensor] = []
    gradients = engine.Learner._gradients
    monkeypatch.setattr(
        engine.Learner,
        "_gradients",
        lambda self, size, given: (
            seen.extend(view.targets.clone() for view in given) or gradients(self, size, given)
        ),
    )

    train.run(params.load())

    assert received.images[0].shape[1:] == (3 if "align.colour" in changes else 1, 16, 16)
    assert_shown(received.images[:views], 24)
    targets = torch.cat([view[:24] for view in seen[:views]]).tolist()
    for target, caption in zip(targets, received.captions, strict=True):
        shares = dict(line.split() for line in caption.split("\n"))
        expected = {name: share for name, share in zip(toy.CLASSES, target, strict=True) if share >= 0.005}
        assert shares == {name: f"{share:.2f}" for name, share in expected.items()}
    mixed = sum(0.01 < target[0] < 0.99 for target in targets)
    assert (mixed > 0) == (changes["augment"] != "none")


def test_a_resumed_run_shows_the_first_step_of_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write(project, augment="mixup", **{"train.batch_size": 27, "train.checkpoint_seconds": 0})
    received = Received(monkeypatch)
    step = engine.TrainingRun._step

    def interrupted(run: engine.TrainingRun, *given: Any) -> Tensor:
        if run.state.epoch == 1:
            raise KeyboardInterrupt
        return step(run, *given)

    with monkeypatch.context() as patch:
        patch.setattr(engine.TrainingRun, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.run(params.load())
    assert not SHEET.exists()
    train.run(params.load())

    assert_shown(received.images[:1], 24)


def test_the_learning_rate_has_a_curve(project: Path) -> None:
    changes = {
        "train.epochs": 4,
        "train.schedule": "multi_step",
        "train.milestones": [1, 3],
        "train.warmup": 0,
    }
    toy.write(project, **changes, **{"train.schedule_factor": 0.1, "optimizers.sgd.learning_rate": 0.02})

    train.run(params.load())

    with (paths.PLOTS / "train/plots/metrics/train/learning_rate.tsv").open(newline="") as file:
        head, *rows = csv.reader(file, delimiter="\t")
    assert head == ["step", "learning_rate"]
    assert [int(step) for step, _ in rows] == [0, 1, 2, 3]
    assert [float(rate) for _, rate in rows] == pytest.approx([0.02, 0.002, 0.002, 0.0002])


def test_the_curve_of_layers_with_different_rates_is_that_of_the_highest(project: Path) -> None:
    rates = {"optimizers.adamw.learning_rate": 0.001, "optimizers.adamw.layer_decay": 0.7}
    toy.write(project, optimizer="adamw", **rates, **{"train.schedule": "constant", "train.warmup": 0})
    run = toy.training_run(params.load())
    assert run.learning_rate(0) == pytest.approx(0.001)


def test_results_shows_the_curves_and_the_epoch_that_was_kept(tmp_path: Path, figures: list[Figure]) -> None:
    history = [
        {
            "train/loss": 2.0 / epoch,
            "train/accuracy": epoch / 4,
            "valid/loss": 1.5,
            "valid/accuracy": epoch / 5,
        }
        for epoch in (1, 2, 3)
    ]
    plots.results(tmp_path / "a.png", "light", history, [0.1, 0.05, 0.0], 1)
    only_train = [{"train/loss": 2.0, "train/accuracy": 0.5}]
    plots.results(tmp_path / "b.png", "svm", only_train, [], 0)

    lines = {
        axes.get_title(): {line.get_label(): line.get_xydata().T.tolist() for line in axes.get_lines()}
        for axes in figures[0].axes
    }
    assert list(lines) == ["loss", "accuracy", "learning rate"]
    assert lines["loss"]["train"] == [[1, 2, 3], [2.0, 1.0, 2 / 3]]
    assert lines["loss"]["valid"] == [[1, 2, 3], [1.5, 1.5, 1.5]]
    assert lines["accuracy"]["train"] == [[1, 2, 3], [0.25, 0.5, 0.75]]
    assert lines["accuracy"]["valid"] == [[1, 2, 3], [0.2, 0.4, 0.6]]
    assert [0.1, 0.05, 0.0] in [values for _, values in lines["learning rate"].values()]
    assert all(panel["kept: epoch 2"][0] == [2, 2] for panel in lines.values())
    assert [axes.get_title() for axes in figures[1].axes] == ["loss", "accuracy"]
    assert figures[1].axes[0].get_lines()[0].get_marker() == "o"


def test_a_caption_names_the_two_largest_shares() -> None:
    classes = ["neutral", "happiness", "fear"]
    assert plots.target_caption(np.array([0.25, 0.7, 0.05]), classes) == "happiness 0.70\nneutral 0.25"
    assert plots.target_caption(np.array([0.0, 0.0, 1.0]), classes) == "fear 1.00"


def test_a_sheet_of_long_names_and_large_faces_is_exact(tmp_path: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (9, 120, 120, 3), dtype=np.uint8)
    name = "pleasantly_surprised_or_amused 0.51"
    plots.faces_sheet(tmp_path / "a.png", "title", [plots.SeenFaces("", faces, [f"{name}\n{name}"] * 9)])

    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert all(len(list(places(sheet, face))) == 1 for face in faces)
