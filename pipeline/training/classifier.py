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

from pipeline import networks
from pipeline.errors import UserError, not_made, one_line
from pipeline.files import replacing
from pipeline.methods import network_module
from pipeline.params import Params


@dataclass
class Classifier:
    """A network in evaluation mode, and how faces must look to it.

    Attributes:
        network: maps float [N, C, crop, crop] in 0..1 to logits [N, K] and features [N, D].
        classes: K names in the order of the logits.
        size: side of an aligned face in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: side of what the network sees, cut out of the face.
    """

    network: nn.Module
    classes: list[str]
    size: int
    channels: int
    crop: int


def build_network(params: Params) -> networks.Classifier:
    """Return the network that `params` chooses, with fresh weights."""
    name, settings = params.chosen("model")
    module = importlib.import_module(f"pipeline.networks.{network_module(name)}")
    return getattr(module, name)(settings, len(params.classes), 3 if params.align.colour else 1)


def save_classifier(path: Path, weights: dict[str, Tensor], params: Params) -> None:
    """Write the weights and, in the file's metadata, what it takes to rebuild the network and its input."""
    name, settings = params.chosen("model")
    about = {
        "model": name,
        "settings": settings.model_dump(),
        "classes": params.classes,
        "size": params.align.face_size,
        "colour": params.align.colour,
        "crop": params.train.crop,
        "labels": params.labels.rule,
        "align": params.align.mode,
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
        module = importlib.import_module(f"pipeline.networks.{network_module(about['model'])}")
        channels = 3 if about["colour"] else 1
        settings = module.Params.model_validate(about["settings"])
        network = getattr(module, about["model"])(settings, len(about["classes"]), channels)
        network.load_state_dict(weights)
        network.to(device).eval()
        return Classifier(network, about["classes"], about["size"], channels, about["crop"])
    except FileNotFoundError:
        raise not_made(path) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError, StopIteration) as error:
        raise UserError(f"{path}: not a classifier of this project: {one_line(error)}") from None
