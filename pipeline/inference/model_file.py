"""The model file: weights and everything needed to use them, without pickle."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.core.errors import UserError, mismatch, not_made, one_line
from pipeline.core.files import replacing
from pipeline.inference.packed import SCALE, packed, unpacked
from pipeline.methods.models import FAMILIES, Classifier
from pipeline.params.combinations import check_crop
from pipeline.params.model import Align, Classes, Crop, Precision, Rule
from pipeline.params.models import Models
from pipeline.params.refusal import wording
from pipeline.params.settings import completed
from pipeline.params.types import Block
from pipeline.tables.schema import channels

KEY = "fer"  # of the metadata


class Labelled(Block, extra="ignore"):
    """The classes that a model file names. Its other metadata may be those of another version of this project."""

    classes: Classes


def _module_name(value: str) -> str:
    if not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ValueError("a data set's name: letters, digits and _")
    return value


# Not one of the data sets here: a model may come from a project with others.
_Datasets = list[Annotated[str, AfterValidator(_module_name)]]


class Metadata(Labelled, extra="forbid"):
    """The metadata of a model file: all of `TrainedModel` but the network. They are as strict as `params.yaml`."""

    model: str
    settings: dict[str, Any]
    align: Align
    crop: Crop
    precision: Precision
    labels: Rule
    datasets: _Datasets
    gan_datasets: _Datasets


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and the description of the faces it expects.

    Attributes:
        network: maps float [N, C, crop, crop] in 0..1 to logits [N, K] and features [N, D].
        model: name of the network.
        settings: the block `models.<model>`.
        classes: K names in the order of the logits.
        align: how faces are found and cut out of images.
        crop: side of the network's input in pixels; it is cut out of the face.
        precision: `train.precision`, which validation and evaluation used.
        labels: `labels.rule`, which turned votes into the training labels.
        datasets: data sets whose faces it learned from.
        gan_datasets: data sets that the GAN of its synthetic faces learned from; empty without synthetic faces.
    """

    network: Classifier
    model: str
    settings: Any
    classes: list[str]
    align: Align
    crop: int
    precision: str
    labels: str
    datasets: list[str]
    gan_datasets: list[str]

    @property
    def learned(self) -> list[str]:
        """Return the data sets that the classifier or its GAN learned from."""
        return list(dict.fromkeys([*self.datasets, *self.gan_datasets]))

    @property
    def size(self) -> int:
        """Return the side of an aligned face in pixels."""
        return self.align.face_size

    @property
    def channels(self) -> int:
        """Return 1 (grey) or 3 (RGB)."""
        return channels(self.align.colour)


def build_network(name: str, settings: Any, classes: int, channels: int) -> Classifier:
    """Return the network `name` with fresh weights."""
    module = importlib.import_module(f"pipeline.methods.models.{FAMILIES[name]}")
    return getattr(module, name)(settings, classes, channels)


def save(path: Path, trained: TrainedModel, small: bool = False) -> None:
    """Write a model file; its metadata hold all but the weights as JSON under `KEY`. With `small`, pack the weights."""
    about = {name: value for name, value in vars(trained).items() if name != "network"}
    about |= {"settings": trained.settings.model_dump(), "align": trained.align.model_dump()}
    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    weights = packed(weights) if small else weights
    with replacing(path) as temporary:
        temporary.write_bytes(serialized(weights, {KEY: json.dumps(about, sort_keys=True)}))


def load(path: Path, device: torch.device) -> TrainedModel:
    """Read a model file; its network is in evaluation mode.

    A file of an earlier version may lack the keys that were added since with a value for such files (`Before`).

    Raises:
        UserError: the file is absent, damaged, or not as `save` of this version writes it: its metadata hold a value
            that is not allowed, or its tensors are not those of its network.
    """
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about = _checked(path, Metadata, _metadata(file))
            settings = getattr(_checked(path, Models, {about.model: about.settings}), about.model)
            check_crop("crop", about.crop, about.align.face_size, about.model, settings)
            network = about.model, settings, len(about.classes), channels(about.align.colour)
            names = list(file.keys())
            with _Uninitialised():
                built = build_network(*network)
            _check_tensors({name: file.get_slice(name) for name in names}, built.state_dict())
            built.load_state_dict(unpacked({name: file.get_tensor(name) for name in names}))
    except FileNotFoundError:
        raise not_made(path) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise _refused(path, one_line(error)) from None
    values = {name: getattr(about, name) for name in Metadata.model_fields} | {"settings": settings}
    return TrainedModel(built.to(device).eval(), **values)


def classes_in(path: Path) -> list[str] | None:
    """Return the classes that a safetensors file names; None if it has no metadata of this project.

    Raises:
        UserError: the metadata are damaged.
        SafetensorError, OSError: the file cannot be read.
    """
    with safe_open(path, "pt") as file:
        if KEY not in (file.metadata() or {}):
            return None
        try:
            return _checked(path, Labelled, _metadata(file)).classes
        except (ValueError, RuntimeError) as error:
            raise _refused(path, one_line(error)) from None


def _metadata(file: Any) -> dict[str, Any]:
    text = (file.metadata() or {}).get(KEY)
    about = json.loads(text) if text else None
    if not isinstance(about, dict):
        raise ValueError(f"it has no metadata `{KEY}`")
    return about


def _checked(path: Path, model: type[Block], content: dict[str, Any]) -> Any:
    try:
        return model.model_validate(completed(content, model))
    except ValidationError as error:
        raise _refused(path, wording(error, model)) from None


def _refused(path: Path, why: str) -> UserError:
    return UserError(f"{path}: not a classifier of this project, or one of another version: {why}")


class _Uninitialised(TorchFunctionMode):
    """Create networks whose weights have no values yet. A large layer then takes neither time nor memory."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        draws = getattr(function, "__module__", None) == "torch.nn.init"
        if draws or function.__name__ in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _check_tensors(parts: dict[str, Any], expected: dict[str, Tensor]) -> None:
    """Reject tensors that are not those of the network.

    Args:
        parts: the file's tensors, whose values have not been read.
        expected: tensors of the network.

    Raises:
        ValueError: names the first tensor that differs in type or shape.
    """
    allowed = {name: _form(tensor) for name, tensor in expected.items()}
    for name, tensor in expected.items():
        if name + SCALE in parts:  # packed
            allowed |= {name: f"I8 {list(tensor.shape)}", name + SCALE: f"F32 {list(tensor.shape[:1])}"}
    found = {name: f"{part.get_dtype()} {part.get_shape()}" for name, part in parts.items()}
    for name in sorted(found.keys() | allowed.keys()):
        if found.get(name) != allowed.get(name):
            raise ValueError(f"{name[:80]}: {mismatch(found.get(name), str(allowed.get(name)))}")


def _form(tensor: Tensor) -> str:
    """Return type and shape of a network's tensor, as safetensors writes them."""
    return f"{'F32' if tensor.dtype == torch.float32 else 'I64'} {list(tensor.shape)}"
