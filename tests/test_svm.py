"""`svm_deep_features`: features of VGG networks and scikit-learn's machine, against both libraries used by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.svm import LinearSVC

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.inference import model_file
from pipeline.methods.models.parts.torchvision import models
from pipeline.stages import evaluate, train
from pipeline.tables import paths
from pipeline.tables.store import read_parquet
from tests import toy

NAMES = ("vgg13", "vgg16")
SETTINGS: dict[str, Any] = {
    "model": "svm_deep_features",
    "augment": "none",
    "models.svm_deep_features.top": "small",
    "models.svm_deep_features.side": 32,
}


def drawn(layer: torch.nn.Module) -> None:
    """Draw a layer's weights as the library does."""
    if isinstance(layer, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        torch.nn.init.zeros_(layer.bias)


@pytest.fixture
def libraries(project: Path) -> list[torch.nn.Module]:
    """The convolutions of two of torchvision's networks; their weights lie in files that `params.yaml` names."""
    networks = []
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        with torch.device("meta"):  # without half a gigabyte of layers that are not used
            network = getattr(models, name)().features
        networks.append(network.to_empty(device="cpu").apply(drawn).eval())
        save_file({f"features.{key}": w for key, w in network.state_dict().items()}, f"{name}.safetensors")
    weights = {name: f"{name}.safetensors" for name in NAMES}
    toy.write(project, **SETTINGS, **{"models.svm_deep_features.weights": weights, "seed": 3})
    return networks


@torch.no_grad()
def features(networks: list[torch.nn.Module], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of a split's faces and their labels, computed with the libraries alone."""
    samples = toy.labelled(params.load()).split(split)
    faces = torch.from_numpy(samples.gather(np.arange(len(samples)))).permute(0, 3, 1, 2).float() / 255
    faces = torch.nn.functional.interpolate(faces, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    # Grey faces are scaled by the mean over the channels of ImageNet's numbers.
    found = torch.cat([network((faces - 0.449) / 0.226).mean((2, 3)) for network in networks], 1)
    return (found / found.norm(dim=1, keepdim=True)).numpy(), samples.labels.numpy()


def test_it_is_the_libraries_machine_on_the_libraries_features(libraries: list[torch.nn.Module]) -> None:
    seen, labels = features(libraries, "train")
    unseen, answers = features(libraries, "valid")
    machine = LinearSVC(random_state=3).fit(seen, labels)

    train.run(params.load())
    evaluate.run(params.load())
    found = json.loads((paths.METRICS / "train.json").read_text())
    accuracy = (machine.predict(unseen) == answers).mean()
    assert 0.5 < accuracy <= 1
    assert found["valid"]["accuracy"] == pytest.approx(accuracy)
    assert json.loads((paths.METRICS / "evaluate.json").read_text())["valid"]["accuracy"] == pytest.approx(
        accuracy
    )
    signs = 2 * labels - 1
    hinge = np.maximum(0, 1 - signs * machine.decision_function(seen)) ** 2
    assert found["train"]["loss"] == pytest.approx(2 * hinge.mean(), rel=1e-3)
    assert found["train"]["accuracy"] == pytest.approx((machine.predict(seen) == labels).mean())
    assert list(found["weights"]) == list(NAMES)
    assert found["epochs"] == 1

    table = read_parquet(paths.PREDICTIONS, ["split", "probabilities"])
    rows = [row for row in table.to_pylist() if row["split"] == "valid"]
    share = np.array([row["probabilities"][1] for row in rows])
    distance = np.log(share / (1 - share)) / 2
    np.testing.assert_allclose(distance, machine.decision_function(unseen), atol=1e-3)


def test_a_class_without_training_faces_is_never_predicted(project: Path) -> None:
    toy.write(
        project,
        **SETTINGS,
        **{"models.svm_deep_features.weights": {"vgg13": None}},
        classes=[*toy.CLASSES, "fear"],
    )
    train.run(params.load())
    network = model_file.load(paths.CLASSIFIER, torch.device("cpu")).network
    shares = network(torch.rand(4, 1, 16, 16))[0].softmax(1).detach()
    assert (shares[:, 2] == 0).all()
    assert shares[:, :2].sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"augment": "mixup"}, "augment: found 'mixup', allowed: none while model is svm_deep_features"),
        ({"loss": "center"}, "loss: found 'center', allowed: softmax while"),
        ({"train.torchrun": "--standalone"}, "train.torchrun: found '--standalone', allowed: null while"),
        (
            {"labels.rule": "distribution"},
            "labels.rule: found 'distribution', allowed: plurality or majority while",
        ),
        ({"models.svm_deep_features.side": None}, "train.crop: found 16, allowed: at least 32 while"),
        ({"models.svm_deep_features.weights": {}}, "models.svm_deep_features.weights"),
        (
            {"models.svm_deep_features.weights": {"vgg13": "none.pth"}},
            "weights.vgg13: found 'none",
        ),
        ({"models.svm_deep_features.weights": {"resnet": None}}, "models.svm_deep_features.weights"),
    ],
)
def test_what_a_machine_cannot_do_is_refused(project: Path, change: dict[str, Any], said: str) -> None:
    toy.write(project, **(SETTINGS | change))
    with pytest.raises(UserError) as error:
        train.run(params.load())
    assert said in str(error.value)
    assert "\n" not in str(error.value)
