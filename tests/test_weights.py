"""Face weights: files with the published names and shapes, and the features that the authors' networks have."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.methods.optimizers import adam
from pipeline.stages import train
from pipeline.training import pretrained, weight_files
from tests import face_networks as faces
from tests import toy

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


def chosen(project: Path, model: str, file: str, **changes: Any) -> params.Params:
    """Return the parameters of a run with colour faces that starts from a file."""
    block = {f"models.{model}.{key}": value for key, value in changes.items()}
    toy.set_params(project, model=model, **{"align.colour": True, f"models.{model}.weights": file} | block)
    return params.load()


def started(p: params.Params) -> tuple[torch.nn.Module, pretrained.LoadReport]:
    network = toy.network(p)
    return network.eval(), pretrained.load_weights(network, *p.chosen("model"), p.classes)[""]


def empty(p: params.Params) -> torch.nn.Module:
    """Return a network without memory, into which many files can be loaded in a short time."""
    with torch.device("meta"):
        return toy.network(p)


def refused(p: params.Params, network: torch.nn.Module | None = None) -> str:
    """Return the line that refuses a file."""
    network = network or empty(p)
    with pytest.raises(UserError) as error:
        pretrained.load_weights(network, *p.chosen("model"), p.classes)
    assert "\n" not in str(error.value)
    return str(error.value)


def drawn_images(side: int) -> np.ndarray:
    """Return two images, uint8 [2, side, side, 3], red first."""
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def assert_same_features(
    network: torch.nn.Module, images: np.ndarray, expected: Callable[[Tensor], Tensor], scaled: np.ndarray
) -> None:
    """Compare the network's features of images with those of the authors' network, of pixels that they scaled."""
    with torch.no_grad():
        features = network.double()(tensor(images).double() / 255)[1]
        torch.testing.assert_close(features, expected(tensor(scaled)), rtol=1e-5, atol=1e-5)
    assert features.std() > 1e-2  # not all alike


def double(weights: faces.Weights) -> faces.Weights:
    return {name: value.double() for name, value in weights.items()}


def imagenet(images: np.ndarray) -> np.ndarray:
    return (images / 255 - IMAGENET[0]) / IMAGENET[1]


# DAN's file has torchvision's names and 1,000 identities; SCN reads one that was trained on several GPUs.
@pytest.mark.parametrize(
    ("file", "prefix", "name", "title"),
    [
        ("resnet18_msceleb.pth", "", str, "ResNet-18 in torchvision's names"),
        ("ijba_res18_naive.pth.tar", "module.", str, "ResNet-18 in torchvision's names"),
        ("scn.pth", "", faces.sequence_name, "ResNet-18 in the names of SCN and DAN"),
    ],
)
def test_resnet18_of_ms_celeb_has_the_authors_features(
    project: Path, file: str, prefix: str, name: Callable[[str], str], title: str
) -> None:
    shapes = faces.resnet18_shapes()
    weights = faces.drawn(shapes)
    named = {prefix + name(key): value for key, value in (weights | faces.counted(shapes)).items()}
    key = "model_state_dict" if name is faces.sequence_name else "state_dict"
    torch.save({"epoch": 3, "arch": "resnet18", key: named, "best_prec1": np.float64(0.9)}, file)
    network, report = started(chosen(project, "resnet18", file, stem="standard", scaling="imagenet"))
    images = drawn_images(64)
    expected = double(weights)
    assert_same_features(network, images, lambda x: faces.resnet18_features(expected, x), imagenet(images))
    assert str(report) == (
        f"120 tensors loaded as {title}; not in the file: head.weight, head.bias; "
        "left out: fc.bias, fc.weight (1,000 classes)"
    )


@pytest.mark.parametrize(("name", "classes"), [("b0", 8), ("b2", None)])
def test_efficientnets_of_emotiefflib_have_the_authors_features(
    project: Path, name: str, classes: int | None
) -> None:
    weights = faces.drawn(faces.efficientnet_shapes(name, classes))
    torch.save(weights, "enet.pt")
    network, report = started(
        chosen(project, "timm", "enet.pt", name=f"tf_efficientnet_{name}", side=64, scaling="imagenet")
    )
    images = drawn_images(64)
    expected = double(weights)
    assert_same_features(
        network, images, lambda x: faces.efficientnet_features(expected, x), imagenet(images)
    )
    said = f"{len(faces.efficientnet_shapes(name, None))} tensors loaded as EfficientNet-{name.upper()} in timm's names"
    left = "; left out: classifier.0.bias, classifier.0.weight (8 classes)" if classes else ""
    assert str(report) == f"{said}; not in the file: head.weight, head.bias{left}"


def blue_first(images: np.ndarray) -> np.ndarray:
    """Return pixels as the conversion from Caffe scales them: blue first, 0 to 255, less the mean."""
    return images[..., ::-1] - np.array([91.4953, 103.8827, 131.0912])


def red_first(images: np.ndarray) -> np.ndarray:
    """Return pixels as the authors scale them for torch."""
    return images - np.array([131.0912, 103.8827, 91.4953])


def vggface2_file(model: str, form: str, file: str) -> faces.Weights:
    """Write a file of VGGFace2's weights, and return them by the authors' names."""
    shapes = faces.vggface2_shapes(model == "se_resnet50")
    weights = faces.drawn(shapes)
    weights["conv1_7x7_s2.weight"] /= 64  # as pixels from 0 to 255 need it
    if form == "authors":
        torch.save(weights | faces.counted(shapes, 0), file)
        return weights
    converted = {faces.converted_name(name): value.numpy() for name, value in weights.items()}
    converted["fc.weight"] = converted["fc.weight"][:, :1, 0, 0]  # else two seconds of zeros
    with open(file, "wb") as opened:
        pickle.dump(converted, opened, 2)
    return weights


# The conversions are pickles of arrays without counts of batches. 224 pixels are the authors' size; 65 and 97 leave
# positions that pooling with `ceil_mode` adds.
@pytest.mark.parametrize(
    ("model", "form", "side"),
    [
        ("resnet50", "converted", 65),
        ("resnet50", "authors", 97),
        ("se_resnet50", "converted", 224),
        ("se_resnet50", "authors", 65),
    ],
)
def test_networks_of_vggface2_have_the_authors_features(
    project: Path, model: str, form: str, side: int
) -> None:
    file = "ft_weight.pkl" if form == "converted" else "ft.pth"
    expected = double(vggface2_file(model, form, file))
    settings = {"stem": "standard", "caffe": True, "scaling": "vggface2"}
    network, report = started(chosen(project, model, file, **settings))
    images = drawn_images(side)
    scaled = (blue_first if form == "converted" else red_first)(images)
    assert_same_features(network, images, lambda x: faces.vggface2_features(expected, x), scaled)
    name, count = ("ResNet-50", 265) if model == "resnet50" else ("SE-ResNet-50", 329)
    turned, last = "; first convolution turned from blue first to red first", "fc"
    if form == "authors":
        turned, last, count = "", "classifier", count + 53
    assert str(report) == (
        f"{count} tensors loaded as VGGFace2's {name}{turned}; not in the file: head.weight, head.bias; "
        f"left out: {last}.bias, {last}.weight (8,631 classes)"
    )


def test_vggface2s_weights_need_caffes_form(project: Path) -> None:
    shapes = faces.vggface2_shapes(False)
    written({faces.converted_name(name): shape for name, shape in shapes.items()})
    line = refused(chosen(project, "resnet50", "w.pth", stem="standard"))
    assert line == "w.pth: found VGGFace2's ResNet-50, allowed: with models.resnet50.caffe: true"
    p = chosen(project, "resnet50", "w.pth", stem="standard", caffe=True)
    with torch.device("meta"):
        network = toy.network(p)
    report = pretrained.load_weights(network, *p.chosen("model"), p.classes)[""]
    assert report.advice == ["they expect models.resnet50.scaling: vggface2"]
    line = refused(chosen(project, "resnet50", "w.pth", stem="small"))
    assert line.endswith("; its stem needs models.resnet50.stem: standard")

    # The same names are ImageNet's, whose strides are elsewhere.
    shapes = faces.vggface2_shapes(False, 1000)
    written({faces.converted_name(name): shape for name, shape in shapes.items()})
    assert refused(p) == (
        "w.pth: found ResNet-50 in torchvision's names, allowed: VGGFace2's, known by 8,631 identities, or "
        "models.resnet50.caffe: false"
    )
    line = refused(chosen(project, "resnet50", "IMAGENET1K_V1", caffe=True))
    assert line.startswith(
        "params.yaml: models.resnet50.weights: found 'IMAGENET1K_V1', allowed: null, a .saf"
    )


# IResNet-100 has a hundred large convolutions. Here those of one shape share their values, and batch norm does not.
@pytest.mark.parametrize(("depth", "shared"), [(50, False), (100, True)])
def test_networks_of_arcface_have_the_authors_features(project: Path, depth: int, shared: bool) -> None:
    shapes = faces.iresnet_shapes(depth)
    if shared:
        by_shape = {shape: name for name, shape in shapes.items() if len(shape) > 1}
        drawn = faces.drawn({**{name: shape for shape, name in by_shape.items()}, **_vectors(shapes)})
        weights = {name: drawn[by_shape.get(shape, name)] for name, shape in shapes.items()}
    else:
        weights = faces.drawn(shapes)
    torch.save(weights | faces.counted(shapes), "backbone.pth")
    network, report = started(chosen(project, f"iresnet{depth}", "backbone.pth"))
    image = drawn_images(112)[:1]
    expected = double(weights)
    scaled = (image / 255 - 0.5) / 0.5
    assert_same_features(network, image, lambda x: faces.iresnet_features(expected, x), scaled)
    count = len(shapes) + len(faces.counted(shapes))
    assert (
        str(report)
        == f"{count} tensors loaded as ArcFace's IResNet-{depth}; not in the file: head.weight, head.bias"
    )
    assert report.left == report.advice == []


def _vectors(shapes: faces.Shapes) -> faces.Shapes:
    return {name: shape for name, shape in shapes.items() if len(shape) == 1}


def test_the_scale_of_arcfaces_features_stays_at_one() -> None:
    network = toy.network(toy.PARAMS.model_copy(update={"model": "iresnet50"}))
    scale = network.body[-1].weight
    before = network.body[-1].bias.clone()
    built = adam.build(toy.settings("optimizer", "adam", learning_rate=0.1), network)
    network(torch.rand(2, 1, 16, 16))[0].square().sum().backward()
    built.step()
    assert torch.equal(scale, torch.ones(512))
    assert not torch.equal(network.body[-1].bias, before)


def test_training_prints_what_was_loaded_and_what_was_left_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write(
        project,
        model="resnet18",
        **{"train.epochs": 1, "align.colour": True, "models.resnet18.stem": "standard"},
        **{"models.resnet18.weights": "resnet18_msceleb.pth"},
    )
    torch.save({"state_dict": faces.drawn(faces.resnet18_shapes())}, "resnet18_msceleb.pth")
    train.run(params.load())
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "train: weights resnet18_msceleb.pth: 100 tensors loaded as ResNet-18 in torchvision's names; not in the file: "
        "head.weight, head.bias; left out: fc.bias, fc.weight (1,000 classes)"
    ) in said


# Each form: the network with its settings, and the tensors of the file.
FORMS: dict[str, tuple[str, dict[str, Any], faces.Shapes]] = {
    "MS-Celeb": ("resnet18", {"stem": "standard"}, faces.resnet18_shapes()),
    "SCN": (
        "resnet18",
        {"stem": "standard"},
        {faces.sequence_name(name): shape for name, shape in faces.resnet18_shapes().items()},
    ),
    **{
        f"VGGFace2 {form} {model}": (
            model,
            {"stem": "standard", "caffe": True},
            {name(key): shape for key, shape in faces.vggface2_shapes(model == "se_resnet50").items()},
        )
        for form, name in (("authors", str), ("converted", faces.converted_name))
        for model in ("resnet50", "se_resnet50")
    },
    "ArcFace 50": ("iresnet50", {}, faces.iresnet_shapes(50)),
    "ArcFace 100": ("iresnet100", {}, faces.iresnet_shapes(100)),
    "EmotiEffLib": ("timm", {"name": "tf_efficientnet_b0", "side": 64}, faces.efficientnet_shapes("b0")),
}


def written(shapes: faces.Shapes) -> None:
    """Write a file of zeros; torch writes one value for each tensor."""
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, "w.pth")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_a_tensor_too_few_or_of_another_shape_is_refused_by_its_name(
    project: Path, form: str
) -> None:
    model, changes, shapes = FORMS[form]
    p = chosen(project, model, "w.pth", **changes)
    network = empty(p)
    last = ("classifier",) if form.startswith("ArcFace") else ("fc.", "classifier")
    body = sorted(name for name in shapes if not name.startswith(last))

    @settings(max_examples=10)
    @given(st.sampled_from(body), st.sampled_from([None, (3,), (5, 2, 2, 2)]))
    def check(name: str, other: tuple[int, ...] | None) -> None:
        kept = {key: shape for key, shape in shapes.items() if key != name}
        written(kept if other is None else kept | {name: other})
        line = f"found no tensor {name}, allowed for this network: one of "
        if other is not None:
            line = f"found {name} of {' x '.join(map(str, other))}, allowed for this network: "
        assert refused(p, network) == f"w.pth: {line}{' x '.join(map(str, shapes[name]))}"

    check()


def test_a_stem_that_does_not_fit_is_named(project: Path) -> None:
    written(faces.resnet18_shapes())
    assert refused(chosen(project, "resnet18", "w.pth")) == (
        "w.pth: found conv1.weight of 64 x 3 x 7 x 7, allowed for this network: 64 x 3 x 3 x 3; its stem needs "
        "models.resnet18.stem: standard"
    )
    written(faces.resnet18_shapes() | {"conv1.weight": (64, 3, 3, 3)})
    line = refused(chosen(project, "resnet18", "w.pth", stem="standard"))
    assert line.endswith("; its stem needs models.resnet18.stem: small")


@pytest.mark.parametrize(
    ("model", "changes", "form", "line"),
    [
        (
            "se_resnet50",
            {},
            "MS-Celeb",
            "found ResNet-18 in torchvision's names, which se_resnet50 does not take, allowed: with model resnet18",
        ),
        (
            "iresnet50",
            {},
            "ArcFace 100",
            "found ArcFace's IResNet-100, which iresnet50 does not take, allowed: with model iresnet100",
        ),
        (
            "efficientnet_b0",
            {},
            "EmotiEffLib",
            "found EfficientNet-B0 in timm's names, which efficientnet_b0 does not take, allowed: with model timm and "
            "models.timm.name tf_efficientnet_b0",
        ),
        (
            "timm",
            {"name": "convnextv2_atto"},
            "EmotiEffLib",
            "found EfficientNet-B0 in timm's names, which convnextv2_atto does not take, allowed: with model timm and "
            "models.timm.name tf_efficientnet_b0",
        ),
    ],
)
def test_weights_of_another_network_are_refused_with_the_one_that_takes_them(
    project: Path, model: str, changes: dict[str, Any], form: str, line: str
) -> None:
    written(FORMS[form][2])
    assert refused(chosen(project, model, "w.pth", **changes)) == f"w.pth: {line}"


def python2_pickle(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a pickle of arrays as Python 2 and its NumPy wrote it: texts and values are strings of bytes."""

    def string(content: bytes) -> bytes:
        return b"T" + len(content).to_bytes(4, "little") + content

    parts = [b"\x80\x02}("]
    for name, array in arrays.items():
        shape = b"(" + b"".join(b"J" + side.to_bytes(4, "little") for side in array.shape) + b"t"
        kind = (
            b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        parts += [
            string(name.encode()),
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
        ]
        parts += [b"(K\x01", shape, kind, b"\x89", string(array.astype("<f4").tobytes()), b"tb"]
    return b"".join([*parts, b"u."])


def test_pickles_of_arrays_or_tensors_are_read_as_every_python_wrote_them(tmp_path: Path) -> None:
    file, arrays = (
        tmp_path / "w.pkl",
        {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "é": np.float32(3)},
    )
    texts = [python2_pickle({"a.weight": arrays["a.weight"]})]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps(arrays, protocol)
        texts += [text, pickle.dumps({"net": {"a.weight": torch.arange(6.0).view(2, 3)}}, protocol)]
        if protocol < 4:  # NumPy's name for its own module before version 2
            texts.append(text.replace(b"numpy._core", b"numpy.core"))
    for text in texts:
        file.write_bytes(text)
        assert torch.equal(weight_files.read_tensors(file)[0]["a.weight"], torch.arange(6.0).view(2, 3))


class Code:
    def __init__(self, function: Any = os.system, *arguments: Any) -> None:
        self.call = function, arguments or ("touch ran",)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_refused_by_name_and_not_run(project: Path, writer: str, legacy: bool) -> None:
    nested = Code(torch.storage._load_from_bytes, pickle.dumps(Code(), 2))
    for content in (Code(), nested, torch.nn.Linear(1, 1)):
        named = {"conv1.weight": torch.zeros(1), "payload": content}
        if writer == "torch":
            torch.save(named, "w.pkl", _use_new_zipfile_serialization=not legacy)
        else:
            Path("w.pkl").write_bytes(pickle.dumps(named, 2 if legacy else None))
        line = refused(chosen(project, "resnet18", "w.pkl"))
        assert re.fullmatch(
            r"w\.pkl: refused: it holds more than tensors( \([\w.]+\))? and could run code; if you trust it, save the "
            r"network's state_dict\(\) with torch\.save, and name that file",
            line,
        )
        assert (content is nested) or ("posix.system" if isinstance(content, Code) else "Linear") in line
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, {}, [1], {"a": np.array(["text"])}, {"a": np.array([{}], object)}, {"model": {"net": "a"}}],
)
def test_a_pickle_of_other_values_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(
        UserError, match=r"w\.pkl: found content other than named tensors, allowed: a state_dict"
    ):
        weight_files.read_tensors(tmp_path / "w.pkl")


def test_a_pickle_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="found content other than named tensors"):
        weight_files.read_tensors(tmp_path / "w.pkl")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_other_bytes_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(UserError) as error:
        weight_files.read_tensors(tmp_path / "w.pkl")
    assert "\n" not in str(error.value)


def test_safetensors_in_a_known_form_are_recognised(project: Path) -> None:
    weights = {name: torch.zeros(shape) for name, shape in faces.efficientnet_shapes("b0").items()}
    save_file(weights, "w.safetensors")
    _, report = started(chosen(project, "timm", "w.safetensors", name="efficientnet_b0", side=64))
    assert report.form == "EfficientNet-B0 in timm's names"
