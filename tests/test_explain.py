"""Class-activation maps: their position, their equality with Grad-CAM, and a suitable stage in every network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import UserError
from pipeline.inference.model_file import TrainedModel
from pipeline.methods import models
from pipeline.methods.models.deep_features import DeepFeatures
from pipeline.prediction.explain import Explainer, layer, maps
from pipeline.prediction.expression import Expression, Prediction
from pipeline.prediction.face_finder import AlignedFace
from pipeline.prediction.sources import InputImage, Source
from tests import toy

ALIGN = toy.PARAMS.align.model_copy(update={"face_size": 48})


def classifier(network: models.Classifier, model: str = "light", crop: int = 44) -> TrainedModel:
    classes = toy.PARAMS.classes
    return TrainedModel(network.eval(), model, None, classes, ALIGN, crop, "float32", "plurality", [], [])


def built(model: str) -> TrainedModel:
    torch.manual_seed(0)
    network = toy.network(toy.PARAMS.model_copy(update={"model": model}))
    return classifier(network, model, toy.PARAMS.train.crop)


class Quadrant(nn.Module):
    """See only one quarter of a face."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.register_buffer("mask", F.one_hot(torch.tensor(2 * row + column), 4).view(1, 1, 2, 2).float())

    def forward(self, images: Tensor) -> Tensor:
        return images * F.interpolate(self.mask, images.shape[-2:])


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", [0, 1])
def test_the_map_is_highest_where_the_network_looks(row: int, column: int) -> None:
    torch.manual_seed(0)
    body = models.trunk(
        Quadrant(row, column), nn.Conv2d(1, 4, 4, 4, bias=False), nn.ReLU(), models.GlobalAverage()
    )
    blind = classifier(models.Classifier(body, 4, 8, 0.0))
    with torch.no_grad():
        blind.network.body[1].weight.abs_()
        blind.network.head.weight.abs_()
    images = 0.6 + 0.4 * torch.rand(3, 1, 44, 44)
    found = maps(blind, layer(blind), images, torch.tensor([0, 3, 7]))
    assert found.shape == (3, 44, 44)
    quarters = found.reshape(3, 2, 22, 2, 22).mean(axis=(2, 4))
    inside = quarters[:, row, column]
    assert (inside > 0.85 * quarters.sum(axis=(1, 2))).all()


@pytest.mark.parametrize("model", ["light", "resnet18"])
def test_maps_are_grad_cam(model: str) -> None:
    """Compare with equations 1 and 2 of the Grad-CAM paper, on the same stage."""
    trained = built(model)
    images, labels = torch.rand(2, 1, trained.crop, trained.crop), torch.tensor([1, 5])
    network, stage = trained.network, layer(trained)
    activations = (images - network.mean) / network.deviation
    stages = list(network.body)
    place = stages.index(stage)
    for one in stages[: place + 1]:
        activations = one(activations)
    activations = activations.detach().requires_grad_()
    rest = activations
    for one in stages[place + 1 :]:
        rest = one(rest)
    logits = network.head(rest)
    (gradients,) = torch.autograd.grad(logits[[0, 1], labels].sum(), activations)
    alpha = gradients.mean((2, 3), keepdim=True)
    wanted = torch.relu((alpha * activations).sum(1, keepdim=True))
    wanted = F.interpolate(wanted, images.shape[-2:], mode="bilinear")[:, 0].detach().numpy()
    found = maps(trained, stage, images, labels)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    assert found.max() > 0


@pytest.mark.parametrize("model", ["resnet18", "resnet18_booster", "densenet121", "efficientnet_b0", "vgg13"])
def test_every_network_has_a_stage(model: str) -> None:
    trained = built(model)
    images = torch.rand(2, 1, trained.crop, trained.crop)
    sides = []
    handle = layer(trained).register_forward_hook(lambda *found: sides.append(found[2].shape[2:]))
    found = maps(trained, layer(trained), images, torch.tensor([0, 1]))
    handle.remove()
    assert all(3 <= side <= 6 for side in sides[-1])
    assert found.shape == (2, trained.crop, trained.crop)
    assert np.isfinite(found).all()


def test_features_of_several_networks_are_refused() -> None:
    part = toy.network(toy.PARAMS.model_copy(update={"model": "light"}))
    several = models.Classifier(DeepFeatures({"vgg13": part}, None), 256, 8, 0.0)
    with pytest.raises(
        UserError, match="--explain: found the network svm_deep_features, allowed: one whose activations"
    ):
        Explainer(Path("out"), classifier(several, "svm_deep_features"))


def test_drawings_show_the_face_and_are_the_same_again(tmp_path: Path) -> None:
    trained = built("light")
    rng = np.random.default_rng(0)
    faces = [rng.integers(0, 256, (48, 48, 1), np.uint8) for _ in range(2)]
    shares = np.eye(8, dtype=np.float32)
    seen = InputImage(Source("in/sub/a.jpg", "image", Path("sub/a.jpg")))
    aligned = [AlignedFace(face, None, True) for face in faces]
    expressions = [Expression(face, shares[i], trained.classes) for i, face in enumerate(aligned)]
    prediction = Prediction(seen, expressions)
    for folder in ("one", "two"):
        Explainer(tmp_path / folder, trained).add(prediction)
    for number, face in enumerate(faces):
        first, second = ((tmp_path / f / f"sub/a.jpg-{number}.png").read_bytes() for f in ("one", "two"))
        assert first == second
        drawing = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
        shown = cv2.resize(drawing[:256, :256, 0], (44, 44), interpolation=cv2.INTER_AREA)
        likeness = np.corrcoef(shown.ravel(), face[2:46, 2:46, 0].ravel())[0, 1]
        assert likeness > 0.9
        assert (drawing[256:] < 128).any(), "a caption"
