"""The model file: weights together with everything needed to use them, without pickle."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.core.errors import UserError, not_made, one_line
from pipeline.core.files import replacing
from pipeline.methods import models
from pipeline.params.model import Align, Params
from pipeline.params.models import Models
from pipeline.tables.schema import channels


@dataclass
class Classifier:
    """A network in evaluation mode, and how faces must look to it.

    Attributes:
        network: maps float [N, C, crop, crop] in 0..1 to logits [N, K] and features [N, D].
        classes: K names in the order of the logits.
        align: how faces were found and cut out of pictures.
        crop: side of what the network sees, cut out of the face.
        precision: `train.precision`, in which validation and evaluation ran.
        model: name of the network.
        labels: `labels.rule`, by which votes became the labels that it learned.
    """

    network: nn.Module
    classes: list[str]
    align: Align
    crop: int
    precision: str
    model: str
    labels: str

    @property
    def size(self) -> int:
        """Return the side of an aligned face in pixels."""
        return self.align.face_size

    @property
    def channels(self) -> int:
        """Return 1 (grey) or 3 (RGB)."""
        return channels(self.align.colour)


def build_network(params: Params) -> models.Classifier:
    """Return the network that `params` chooses, with fresh weights."""
    name, settings = params.chosen("model")
    return _network(name, settings, len(params.classes), channels(params.align.colour))


def _network(name: str, settings: Any, classes: int, channels: int) -> models.Classifier:
    module = importlib.import_module(f"pipeline.methods.models.{settings.family}")
    return getattr(module, name)(settings, classes, channels)


def save_classifier(path: Path, weights: dict[str, Tensor], params: Params) -> None:
    """Write the weights and, in the file's metadata, what it takes to rebuild the network and its input."""
    name, settings = params.chosen("model")
    about = {
        "model": name,
        "settings": settings.model_dump(),
        "classes": params.classes,
        "align": params.align.model_dump(),
        "crop": params.train.crop,
        "precision": params.train.precision,
        "labels": params.labels.rule,
    }
    data = save({k: v.contiguous() for k, v in weights.items()}, {"fer": json.dumps(about, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def load(path: Path, device: torch.device) -> Classifier:
    """Read a model file.

    Raises:
        UserError: the file is absent, damaged or not written by `save_classifier`.
    """
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about: dict[str, Any] = json.loads(file.metadata()["fer"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        align = Align.model_validate(about["align"])
        block = Models.model_validate({about["model"]: about["settings"]})
        settings = getattr(block, about["model"])
        network = _network(about["model"], settings, len(about["classes"]), channels(align.colour))
        network.load_state_dict(weights)
        network.to(device).eval()
        return Classifier(
            network,
            about["classes"],
            align,
            about["crop"],
            about["precision"],
            about["model"],
            about["labels"],
        )
    except FileNotFoundError:
        raise not_made(path) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError, StopIteration) as error:
        raise UserError(f"{path}: not a classifier of this project: {one_line(error)}") from None
