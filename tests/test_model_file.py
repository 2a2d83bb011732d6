"""Model files of strangers: what is not as `train` writes it is one line, never a download, never a lot of memory."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.inference import model_file
from pipeline.params.model import Align
from pipeline.params.models import Models
from pipeline.params.settings import completed
from pipeline.params.types import Block
from pipeline.prediction import Predictor
from pipeline.stages.train import trained_model
from tests import toy

ABSENT = object()
Content = tuple[dict[str, Any], dict[str, Tensor]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "m.safetensors"


@pytest.fixture(scope="module")
def content(path: Path) -> Content:
    """Metadata and tensors as `train` writes them, with the smallest network."""
    p = toy.PARAMS.model_copy(update={"model": "light"})
    model_file.save(path, trained_model(p, toy.network(p)))
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return json.loads(file.metadata()["fer"]), {name: file.get_tensor(name).clone() for name in names}


def changed(about: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return metadata with another value at a dotted key, or without it if the value is `ABSENT`."""
    about = block = deepcopy(about)
    *above, last = key.split(".")
    for name in above:
        block = block[name]
    block[last] = value
    if value is ABSENT:
        del block[last]
    return about


def load(path: Path, about: Any, tensors: dict[str, Tensor]) -> str:
    """Return the line with which a file is refused; "" if it is loaded."""
    text = about if isinstance(about, str) else json.dumps(about)
    path.write_bytes(save(tensors, {"fer": text}))
    try:
        model_file.load(path, torch.device("cpu"))
    except UserError as error:
        line = str(error)
        assert line.startswith(f"{path}: not a classifier of this project, or one of another version: "), line
        assert line.isprintable()
        assert len(line) < 600
        return line
    return ""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("crop", "44; x", "crop: found '44; x', allowed: a whole number"),
        ("crop", 1_000_000_000, "crop: found 1000000000, allowed: at most align.face_size, which is 48"),
        ("crop", -44, "crop: found -44, allowed: greater than or equal to 16"),
        ("crop", ABSENT, "crop: missing, no value given"),
        ("crops", 44, "crops: unknown key, allowed here: classes, model"),
        ("classes", ["neutral", "fear"] * 4, "allowed: each name once"),
        ("classes", ["neutral", "\x1b[31mfear"], r"classes.1: found '\x1b[31mfear', allowed: a letter"),
        ("classes", ["neutral", "fear"], "head.bias: found F32 [8], allowed: F32 [2]"),
        ("align.face_size", 10**9, "align.face_size: found 1000000000, allowed: less than or equal to 512"),
        ("align.threshold", float("nan"), "align.threshold: found nan"),
        ("align.weights", "a\n# heading", r"align.weights: found 'a\n# heading', allowed: text without"),
        ("align.colour", True, "body.0.weight: found F32 [32, 1, 3, 3], allowed: F32 [32, 3, 3, 3]"),
        ("datasets", ["ferplus", "<img src=x>"], "datasets.1: found '<img src=x>', allowed: a data set's name"),
        ("model", "resnet9", "resnet9: unknown key, allowed here: resnet18"),
        ("settings", None, "settings: found None, allowed: a block of keys and values"),
        ("settings.dropout", "0", "light.dropout: found '0', allowed: a number"),
        ("settings.extra", 10**12, "light.extra: found 1000000000000, allowed: less than or equal to 65536"),
        ("settings.extra", 60_000, "body.25.bias: found None, allowed: F32 [60000]"),
    ],
)  # fmt: skip
def test_metadata_that_are_not_allowed_are_one_line(
    path: Path, content: Content, key: str, value: Any, said: str
) -> None:
    about, tensors = content
    assert said in load(path, changed(about, key, value), tensors)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("[" * 100_000, "maximum recursion depth"),
        ("9" * 9_999, "Exceeds the limit"),
        ("null", "it has no metadata `fer`"),
        ("[1]", "it has no metadata `fer`"),
        ("{", "Expecting property name"),
    ],
)
def test_metadata_that_are_no_keys_and_values_are_one_line(
    path: Path, content: Content, about: str, said: str
) -> None:
    assert said in load(path, about, content[1])


# The keys of the first model files that later versions read.
FIRST = {
    "": "classes model settings align crop precision labels datasets gan_datasets",
    "align": "mode landmarks detector weights face_size colour missing threshold",
    "resnet18": "dropout extra frozen weights scaling stem",
    "resnet50": "dropout extra frozen weights scaling stem",
    "resnet18_booster": "dropout extra frozen weights scaling stem skip mish booster",
    "resnet50_booster": "dropout extra frozen weights scaling stem skip mish booster",
    "se_resnet50": "dropout extra frozen weights scaling stem",
    "densenet121": "dropout extra frozen weights scaling stem",
    "efficientnet_b0": "dropout extra frozen weights scaling stem",
    "vgg19_fer": "dropout extra frozen weights scaling",
    "vgg13": "dropout extra frozen weights scaling top batch_norm",
    "vgg16": "dropout extra frozen weights scaling top batch_norm",
    "light": "dropout extra frozen weights scaling",
    "svm_deep_features": "weights top batch_norm scaling side C",
}


def test_a_file_from_before_a_key_existed_is_read_with_what_it_did_then(path: Path, content: Content) -> None:
    about, tensors = content
    assert load(path, changed(about, "align.turn", ABSENT), tensors) == ""
    assert model_file.load(path, torch.device("cpu")).align.turn is False


@pytest.mark.parametrize(
    ("block", "model"),
    [
        ("", model_file.Metadata),
        ("align", Align),
        *((name, field.annotation) for name, field in Models.model_fields.items() if name in FIRST),
    ],
)
def test_each_key_added_since_the_first_files_has_a_value_for_them(block: str, model: type[Block]) -> None:
    known = dict.fromkeys(FIRST[block].split(), "any")
    assert set(completed(known, model)) == set(model.model_fields), "annotate the new key with `Before`"


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**9, 10**30, -1, 0])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["light", "resnet50", "none", "/dev/zero", "~", "a" * 9_999]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_other_value_is_loaded_or_one_line(path: Path, content: Content, data: st.DataObject) -> None:
    about, tensors = content
    keys = [*about, *(f"{block}.{key}" for block in ("align", "settings") for key in about[block]), "more"]
    load(
        path, changed(about, data.draw(st.sampled_from(keys)), data.draw(_VALUES | st.just(ABSENT))), tensors
    )


def test_tensors_of_another_network_are_one_line(path: Path, content: Content) -> None:
    about, tensors = content
    weight = tensors["head.weight"]
    for other, found in {
        weight[:, :5]: "F32 [8, 5]",
        weight.double(): "F64 [8, 256]",
        torch.zeros(0): "F32 [0]",
    }.items():
        said = f"head.weight: found {found}, allowed: F32 [8, 256]"
        assert said in load(path, about, tensors | {"head.weight": other.contiguous()})
    more = load(path, about, tensors | {"\x1b[2Jmore": weight.clone()})
    assert r"\x1b[2Jmore: found F32 [8, 256], allowed: None" in more
    assert load(path, about, tensors) == ""


def test_a_model_file_starts_no_download_of_a_pack(
    path: Path, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("insightface.utils.storage.download_file", lambda *_, **__: pytest.fail("a download"))
    about, tensors = content
    assert load(path, changed(about, "align.weights", "buffalo_l"), tensors) == ""
    said = f"the model's align.weights: found a model pack that is not in {tmp_path}/.insightface/models, allowed: "
    with pytest.raises(
        UserError, match=f"^{said}one that is there; `insightface-cli model.download buffalo_l`"
    ):
        Predictor.load(path, "cpu")


def test_a_packed_file_takes_a_quarter_and_holds_each_weight_to_half_a_step(tmp_path: Path) -> None:
    p = toy.PARAMS.model_copy(update={"model": "fast"})
    trained = trained_model(p, toy.network(p))
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    model_file.save(whole, trained)
    model_file.save(small, trained, small=True)
    assert small.stat().st_size < 0.27 * whole.stat().st_size
    found = model_file.load(small, torch.device("cpu")).network.state_dict()
    for name, tensor in trained.network.state_dict().items():
        steps = tensor.reshape(len(tensor), -1).abs().amax(1) / 127 if tensor.ndim > 1 else torch.zeros(())
        error = (found[name] - tensor).abs().reshape(*tensor.shape[:1], -1)
        assert found[name].dtype == tensor.dtype
        assert (error <= steps[..., None] / 2 + 1e-7).all(), name


def test_a_packed_file_with_a_tensor_of_another_form_is_refused_by_name(tmp_path: Path) -> None:
    p = toy.PARAMS.model_copy(update={"model": "light"})
    small = tmp_path / "small.safetensors"
    model_file.save(small, trained_model(p, toy.network(p)), small=True)
    with safe_open(small, "pt") as file:
        about = json.loads(file.metadata()["fer"])
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    assert load(small, about, tensors) == ""
    for name, found, allowed in (
        ("body.3.weight", "I8 [31, 32, 3, 3]", "I8 [32, 32, 3, 3]"),
        ("body.3.weight.scale", "F32 [31]", "F32 [32]"),
    ):
        assert f"{name}: found {found}, allowed: {allowed}" in load(
            small, about, tensors | {name: tensors[name][1:].clone()}
        )
    del tensors["body.3.weight.scale"]
    assert "body.3.weight: found I8 [32, 32, 3, 3], allowed: F32" in load(small, about, tensors)
