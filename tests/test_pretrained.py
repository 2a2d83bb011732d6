"""Weights to start from: what is loaded, what is adapted, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.inference import model_file
from pipeline.methods.models.parts.torchvision import models
from pipeline.stages import train
from pipeline.tables import paths
from pipeline.training import pretrained, weight_files
from tests import toy


def started(project: Path, weights: str, **changes: object) -> tuple[torch.nn.Module, pretrained.LoadReport]:
    changes = {"model": "resnet18", **changes}
    toy.set_params(project, **changes, **{f"models.{changes['model']}.weights": weights})
    p = params.load()
    network = toy.network(p)
    return network.eval(), pretrained.load_weights(network, *p.chosen("model"), p.classes)[""]


def refused(project: Path, weights: str, **changes: object) -> str:
    with pytest.raises(UserError) as error:
        started(project, weights, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("end", [".safetensors", ".pth"])
def test_a_librarys_weights_give_the_librarys_features(project: Path, end: str) -> None:
    torch.manual_seed(0)
    library = models.resnet18()
    library.train()(torch.rand(4, 3, 48, 48))  # running statistics that are not the first
    library.eval()
    if end == ".pth":
        torch.save({"state_dict": library.state_dict()}, "w.pth")
    else:
        save_file(library.state_dict(), "w.safetensors")
    settings = {"models.resnet18.stem": "standard", "models.resnet18.scaling": "imagenet"}
    network, start = started(project, f"w{end}", **settings, **{"align.colour": True})
    images = torch.rand(3, 3, 48, 48)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    library.fc = torch.nn.Identity()
    expected = library((images - mean[:, None, None]) / deviation[:, None, None])
    torch.testing.assert_close(network(images)[1], expected, rtol=1e-4, atol=1e-5)
    assert start.fresh == ["head.weight", "head.bias"]
    assert start.left == ["fc.bias", "fc.weight (1,000 classes)"]
    assert start.adapted == []

    # A grey face is to the summed convolution what its three equal channels are to the library's.
    grey, start = started(
        project, f"w{end}", **settings | {"models.resnet18.scaling": "faces"}, **{"align.colour": False}
    )
    face = torch.rand(3, 1, 48, 48)
    expected = library(((face - 0.5) / 0.25).expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey(face)[1], expected, rtol=1e-4, atol=1e-5)
    assert start.adapted == ["first convolution summed over channels"]


def test_a_booster_takes_the_weights_of_the_network_it_extends(project: Path) -> None:
    save_file(models.resnet18().state_dict(), "w.safetensors")
    network, start = started(project, "w.safetensors", model="resnet18_booster", **{"align.colour": True})
    assert all(".booster." in name or name.startswith("head.") for name in start.fresh)
    assert len([name for name in start.fresh if name.endswith("booster.conv.weight")]) == 8


def test_settings_of_an_earlier_version_are_refused_and_the_weights_still_load(project: Path) -> None:
    toy.set_params(project, model="resnet18_booster")
    p = params.load()
    trained = train.trained_model(p, toy.network(p))
    old = trained.settings.model_dump() | {"booster": True}
    del old["skip"]
    settings = SimpleNamespace(model_dump=lambda: old)
    model_file.save(Path("w.safetensors"), dataclasses.replace(trained, settings=settings))
    line = "w.safetensors: not a classifier of this project, or one of another version: "
    with pytest.raises(UserError, match=f"^{line}resnet18_booster.skip: missing, no value given"):
        model_file.load(Path("w.safetensors"), torch.device("cpu"))
    tensors = {"head.weight": torch.zeros(2, 3)}
    save_file(
        tensors, "older.safetensors", {"fer": json.dumps({"classes": p.classes, "labels": "plurality"})}
    )
    with pytest.raises(UserError, match=f"^older.{line[2:]}model: missing, no value given .and 6 more"):
        model_file.load(Path("older.safetensors"), torch.device("cpu"))
    network, start = started(project, "w.safetensors", model="resnet18_booster")
    assert (start.fresh, start.left) == ([], [])


def test_a_run_goes_on_from_an_earlier_one_with_other_classes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write(project, model="resnet18", **{"train.epochs": 1})
    train.run(params.load())
    earlier = Path("earlier.safetensors")
    os.replace(paths.CLASSIFIER, earlier)
    before = model_file.load(earlier, torch.device("cpu")).network

    network, start = started(project, str(earlier), classes=["happiness", "fear", "neutral"])
    assert start.adapted == ["last layer: 2 of 3 classes loaded by name, the others newly initialised"]
    assert (start.fresh, start.left) == ([], [])
    assert torch.equal(network.head.weight[[2, 0]], before.head.weight)
    assert torch.equal(network.head.bias[[2, 0]], before.head.bias)
    faces = torch.rand(2, 1, 16, 16)
    assert torch.equal(network(faces)[1], before(faces)[1])

    toy.write(project, model="resnet18", classes=["happiness", "neutral"])
    train.run(params.load())
    found = json.loads((paths.METRICS / "train.json").read_text())["weights"]
    assert (found["sha256"], found["loaded"]) == (start.sha256, start.loaded)
    assert (
        "train: weights earlier.safetensors: 120 tensors loaded; last layer: 2 of 2"
        in capsys.readouterr().out
    )
    assert model_file.load(paths.CLASSIFIER, torch.device("cpu")).classes == ["happiness", "neutral"]


def test_an_earlier_run_with_the_same_classes_is_taken_over_whole(project: Path) -> None:
    toy.set_params(project, model="resnet18")
    p = params.load()
    torch.manual_seed(3)
    earlier = toy.network(p).eval()
    model_file.save(Path("w.safetensors"), train.trained_model(p, earlier))
    network, start = started(project, "w.safetensors")
    assert torch.equal(network(torch.ones(2, 1, 44, 44))[0], earlier(torch.ones(2, 1, 44, 44))[0])
    assert (start.fresh, start.left, start.adapted) == ([], [], [])

    model_file.save(Path("small.safetensors"), train.trained_model(p, earlier), small=True)
    network, start = started(project, "small.safetensors")
    packed = model_file.load(Path("small.safetensors"), torch.device("cpu")).network
    assert torch.equal(network(torch.ones(2, 1, 44, 44))[0], packed(torch.ones(2, 1, 44, 44))[0])
    assert (start.fresh, start.left, start.adapted) == ([], [], [])

    _, start = started(project, "w.safetensors", **{"models.resnet18.extra": 16})
    assert start.fresh == ["body.8.weight", "body.8.bias"]
    assert start.adapted == ["last layer newly initialised"]


def test_an_rgb_network_takes_the_mean_of_channels_where_it_had_grey(project: Path) -> None:
    toy.set_params(project, model="resnet18")
    p = params.load()
    earlier = toy.network(p).eval()
    model_file.save(Path("w.safetensors"), train.trained_model(p, earlier))
    network, start = started(project, "w.safetensors", **{"align.colour": True})
    faces = torch.rand(2, 3, 44, 44)
    torch.testing.assert_close(
        network(faces)[1], earlier(faces.mean(1, keepdim=True))[1], rtol=1e-4, atol=1e-4
    )
    assert start.adapted == ["first convolution spread over channels"]


def test_a_librarys_own_name_is_fetched_by_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    weights = models.resnet18().state_dict()
    entry = models.get_model_weights("resnet18").IMAGENET1K_V1
    monkeypatch.setattr(type(entry), "get_state_dict", lambda self, **_: weights)
    network, start = started(
        project, "IMAGENET1K_V1", **{"models.resnet18.stem": "standard", "align.colour": True}
    )
    assert torch.equal(network.body[0].weight, weights["conv1.weight"])
    assert start.sha256 is None


@pytest.mark.parametrize("model", ["resnet18", "se_resnet50"])
def test_weights_that_cannot_be_downloaded_are_one_line(
    project: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fails)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fails)
    monkeypatch.setattr("timm.create_model", fails if model == "resnet18" else _Offline(fails))
    name = {"resnet18": "IMAGENET1K_V1", "se_resnet50": "ra2_in1k"}[model]
    line = refused(project, name, model=model)
    assert line.startswith(
        f"params.yaml: models.{model}.weights: {name} cannot be downloaded: no route to host"
    )


class _Offline:
    """timm's `create_model` on a machine without a network."""

    def __init__(self, fails: object) -> None:
        import timm

        self.fails, self.create = fails, timm.create_model

    def __call__(self, name: str, pretrained: bool = False) -> torch.nn.Module:
        return self.fails() if pretrained else self.create(name)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch ran",))


def test_a_pickle_with_code_is_refused_and_not_run(project: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1), "payload": _Code()}, "w.pth")
    assert "refused: it holds more than tensors" in refused(project, "w.pth")
    assert not Path("ran").exists()


def test_what_does_not_fit_is_one_line(project: Path) -> None:
    assert "found 'IMAGENET', allowed: null, IMAGENET1K_V1, a .safetensors file" in refused(
        project, "IMAGENET"
    )
    assert "'none.pth', allowed: a file that exists" in refused(project, "none.pth")
    assert "DVC removes this one before training" in refused(project, str(paths.CLASSIFIER))
    for end in (".pth", ".safetensors"):
        Path(f"w{end}").write_bytes(b"not weights")
        assert f"w{end}: " in refused(project, f"w{end}")
    for content in ([1, 2], {"conv1.weight": torch.zeros(1).to_sparse()}):
        torch.save(content, "w.pth")
        with pytest.raises(
            UserError, match=r"w\.pth: found content other than named tensors, allowed: a state_dict"
        ):
            weight_files.read_tensors(Path("w.pth"))
    weights = models.resnet18().state_dict()
    save_file(weights, "w.safetensors")
    assert "found conv1.weight of 64 x 3 x 7 x 7, allowed for this network: 64 x 1 x 3 x 3" in refused(
        project, "w.safetensors"
    )
    standard = {"model": "resnet50", "models.resnet50.stem": "standard"}
    for changes in (standard, {"model": "vgg19_fer"}):
        found = f"found ResNet-18 in torchvision's names, which {changes['model']} does not take"
        assert found in refused(project, "w.safetensors", **changes)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (5, "classes: found 5"),
        (["fear"] * 2, "each name once"),
        (["fear", "anger", "disgust"], "names 3 classes, and its last layer has another number"),
    ],
)
def test_classes_of_an_earlier_run_that_are_none_are_one_line(
    tmp_path: Path, classes: object, said: str
) -> None:
    tensors = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2)}
    save_file(tensors, tmp_path / "w.safetensors", {"fer": json.dumps({"classes": classes})})
    with pytest.raises(UserError, match=said):
        weight_files.read_tensors(tmp_path / "w.safetensors")


def test_another_network_that_begins_alike_is_refused(project: Path) -> None:
    toy.set_params(project, model="vgg19_fer")
    p = params.load()
    model_file.save(Path("w.safetensors"), train.trained_model(p, toy.network(p)))
    assert "found no tensor body.3.0.conv1.weight" in refused(project, "w.safetensors")


def test_weights_that_fill_nothing_are_refused_by_networks_of_our_own(project: Path) -> None:
    for model in ("fast", "resnet18"):
        toy.set_params(project, model=model)
        p = params.load()
        model_file.save(Path(f"{model}.safetensors"), train.trained_model(p, toy.network(p)))
    members = {"model": "fast", "models.fast.members": 2}
    assert "found no tensor body.0.networks.0.0.weight" in refused(project, "fast.safetensors", **members)
    started(project, "fast.safetensors", model="fast", **{"models.fast.members": 1, "models.fast.extra": 8})
    save_file({"a.weight": torch.zeros(1)}, "w.safetensors")
    for model in ("light", "fast"):
        line = refused(project, "w.safetensors", model=model)
        assert "found none of the network's tensors (a.weight, ...), allowed: tensors of" in line


def test_a_changed_file_of_weights_is_another_run(project: Path) -> None:
    toy.write(project, model="resnet18", **{"models.resnet18.weights": "w.safetensors"})
    p = params.load()
    found = []
    for content in (b"one", b"two"):
        Path("w.safetensors").write_bytes(content)
        found.append(train.checkpoint_path(p))
    assert found[0] != found[1]
