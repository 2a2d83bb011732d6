"""Weights to start from: a library's own, an earlier run's, or a file with the library's names.

The last layer, and what a library's network does not have, stay as they were drawn and are named; a body that does not
fit is refused. Of an earlier run's last layer the classes that both have are taken over, by name.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.core.errors import UserError, one_line
from pipeline.methods.models import Classifier
from pipeline.params.model import Params
from pipeline.tables.paths import CLASSIFIER

SAFE, PICKLED = (".safetensors",), (".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Start:
    """What a network starts from.

    Attributes:
        sha256: of the file; of a library's weights, null.
        loaded: number of tensors taken over.
        fresh: tensors that were not, by their names in the network.
        left: tensors that have no place in the network, by their names in the file.
        adapted: what was changed to fit, in words.
    """

    sha256: str | None
    loaded: int
    fresh: list[str]
    left: list[str]
    adapted: list[str]

    def __str__(self) -> str:
        words = [f"{self.loaded} tensors taken over", *self.adapted]
        for title, names in (("not in the file", self.fresh), ("of no use here", self.left)):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                words.append(f"{title}: {', '.join(names[:4])}{more}")
        return "; ".join(words)


def files(params: Params) -> list[Path]:
    """Return the files of weights that `params` names."""
    return [Path(choice) for choice in choices(params).values() if choice.endswith(SAFE + PICKLED)]


def starts(network: Classifier, params: Params) -> dict[str, Start]:
    """Load the weights that `params` chooses into `network` or its parts.

    Returns:
        By the part's name, "" for the network itself; nothing where it starts from drawn weights.

    Raises:
        UserError: they cannot be had, hold more than tensors, or do not fit.
    """
    key = f"params.yaml: models.{params.model}.weights"
    return {
        name: _start(network.parts[name] if name else network, choice, f"{key}.{name}".rstrip("."), params)
        for name, choice in choices(params).items()
    }


def choices(params: Params) -> dict[str, str]:
    """Return where the weights of the network or of its parts come from, by part as in `starts`."""
    chosen = getattr(params.chosen("model")[1], "weights", None)
    named = chosen if isinstance(chosen, dict) else {"": chosen}
    return {name: choice for name, choice in named.items() if choice is not None}


def _start(network: Classifier, choice: str, key: str, params: Params) -> Start:
    if not choice.endswith(SAFE + PICKLED):
        if choice not in network.published.choices:
            allowed = ["null", *network.published.choices, *(f"a {end} file" for end in SAFE + PICKLED)]
            raise UserError.of(key, repr(choice), allowed)
        try:
            tensors = network.published.fetch(choice)
        except Exception as error:  # the libraries' and their transports' own, of many kinds
            raise UserError(f"{key}: {choice} cannot be downloaded: {one_line(error)}") from None
        return _place(network, tensors, None, params.classes, f"{key}: {choice}", None)
    path = Path(choice)
    if path.resolve() == CLASSIFIER.resolve():
        raise UserError.of(key, repr(choice), "a copy of it elsewhere, as DVC removes it before training")
    if not path.is_file():
        raise UserError.of(key, repr(choice), "a file that exists")
    tensors, classes = _safe(path) if choice.endswith(SAFE) else (_pickled(path), None)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return _place(network, tensors, classes, params.classes, str(path), digest)


def _safe(path: Path) -> tuple[dict[str, Tensor], list[str] | None]:
    """Return the tensors and, of an earlier run's file, its classes."""
    try:
        with safe_open(path, "pt") as opened:
            about = (opened.metadata() or {}).get("fer")
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
        return tensors, json.loads(about)["classes"] if about else None
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file of weights: {one_line(error)}") from None


def _pickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that torch wrote. Nothing in it is run: torch reads tensors and containers."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: refused: it holds more than tensors, and code in it would be run") from None
    except (RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise UserError(f"{path}: not a file of weights: {one_line(error)}") from None
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError.of(path, "something else than named tensors", "a state_dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


@torch.no_grad()
def _place(
    network: Classifier,
    tensors: dict[str, Tensor],
    had: list[str] | None,
    classes: list[str],
    source: str,
    digest: str | None,
) -> Start:
    own = network.state_dict()
    names = network.names
    if had is not None:
        names = {name: name for name in own}
        if had != classes or tensors["head.weight"].shape != network.head.weight.shape:
            names = {name: name for name in own if not name.startswith("head.")}
    first = next(iter(own))
    fresh, adapted = [], []
    for name, tensor in own.items():
        given = tensors.get(names.get(name, ""))
        # Older files do not count the batches; with a fixed momentum the count has no effect.
        if given is None and name.endswith("num_batches_tracked"):
            continue
        # An earlier run's file may lack the layer `extra`, a library's the boosters.
        if given is None and name in network.names and ".booster." not in name:
            raise UserError(f"{source}: has no tensor {names[name]}, allowed: weights of this network")
        if given is None:
            fresh.append(name)
            continue
        if name == first and given.shape[1:2] != tensor.shape[1:2] and given.shape[2:] == tensor.shape[2:]:
            given = _channels(given, tensor.shape[1])
            adapted.append(
                f"first convolution {'summed' if tensor.shape[1] == 1 else 'spread'} over channels"
            )
        if given.shape != tensor.shape:
            raise UserError(
                f"{source}: {names[name]} is {_shape(given)}, allowed for this network: {_shape(tensor)}"
            )
        tensor.copy_(given)
    left = sorted(set(tensors) - set(names.values()))
    loaded = len(own) - len(fresh)
    if had is not None and "head.weight" in fresh:
        adapted.append(_head(network, tensors, had, classes))
        fresh, left = ([name for name in names if not name.startswith("head.")] for names in (fresh, left))
    return Start(digest, loaded, fresh, left, adapted)


def _channels(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution's weights [O, C, h, w] for another number of channels.

    Of one channel: the sum, which gives a grey face what its three equal channels gave. Of three: a third in each,
    which gives an RGB face what the mean of its channels gave.
    """
    total = weight.sum(1, keepdim=True)
    return total if channels == 1 else total.expand(-1, channels, -1, -1) / channels


def _head(network: Classifier, tensors: dict[str, Tensor], had: list[str], classes: list[str]) -> str:
    """Take over the last layer's rows of the classes that both have, by name."""
    shared = [name for name in classes if name in had]
    weight, bias = tensors["head.weight"], tensors["head.bias"]
    if weight.shape[1:] != network.head.weight.shape[1:]:
        return "last layer freshly drawn"
    for name in shared:
        network.head.weight[classes.index(name)] = weight[had.index(name)]
        network.head.bias[classes.index(name)] = bias[had.index(name)]
    return f"last layer: {len(shared)} of {len(classes)} classes taken over by name, the others freshly drawn"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
