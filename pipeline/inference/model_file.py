"""The model file: weights and everything needed to use them, without pickle."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from pipeline.core.errors import UserError, not_made, one_line
from pipeline.core.files import replacing
from pipeline.methods.models import FAMILIES, Classifier
from pipeline.params.model import Align
from pipeline.params.models import Models
from pipeline.params.refusal import wording
from pipeline.tables.schema import channels

ANOTHER = "made by another version of this project"


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and the description of the faces it expects.

    Attributes:
        network: maps float [N, C, crop, crop] in 0..1 to logits [N, K] and features [N, D].
        model: name of the network.
        settings: the block `models.<model>`.
        classes: K names in the order of the logits.
        align: how faces are found and cut out of pictures.
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


def save(path: Path, trained: TrainedModel) -> None:
    """Write a model file; its metadata hold all but the weights as JSON under `fer`."""
    about = {name: value for name, value in vars(trained).items() if name != "network"}
    about |= {"settings": trained.settings.model_dump(), "align": trained.align.model_dump()}
    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(serialized(weights, {"fer": json.dumps(about, sort_keys=True)}))


def load(path: Path, device: torch.device) -> TrainedModel:
    """Read a model file; its network is in evaluation mode.

    Raises:
        UserError: the file is absent, damaged, not written by `save` or made by another version.
    """
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about: dict[str, Any] = json.loads(file.metadata()["fer"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        lacking = [field.name for field in fields(TrainedModel)[1:] if field.name not in about]
        if lacking:
            raise UserError(f"{path}: {ANOTHER}: it lacks {', '.join(lacking)}")
        about["align"] = align = _settings(path, Align, about["align"])
        block = _settings(path, Models, {about["model"]: about["settings"]})
        about["settings"] = settings = getattr(block, about["model"])
        network = build_network(about["model"], settings, len(about["classes"]), channels(align.colour))
        network.load_state_dict(weights)
        return TrainedModel(network.to(device).eval(), **about)
    except FileNotFoundError:
        raise not_made(path) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError, StopIteration) as error:
        raise UserError(f"{path}: not a classifier of this project: {one_line(error)}") from None


def _settings(path: Path, model: type[BaseModel], content: dict[str, Any]) -> Any:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {ANOTHER}: {wording(error, model)}") from None
