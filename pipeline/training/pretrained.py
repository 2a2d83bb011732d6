"""Weights to start from: published by a library, from an earlier run, or from a file with the library's tensor names.

If the weights do not fit the body (everything before the last layer), they are refused. A library's weights do not fill
the last layer, nor any layer that the library's network lacks. These layers keep their initial values, and the report
names them. An earlier run's weights also fill the last layer. If its classes differ, only the rows of the classes that
both runs have are loaded.
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.core.errors import UserError, one_line
from pipeline.inference.model_file import build_network, classes_in
from pipeline.inference.packed import unpacked
from pipeline.methods.models import Classifier
from pipeline.training.weights import PICKLED, SAFE, choices_by_part, existing, is_file, key_of


@dataclass(frozen=True)
class LoadReport:
    """A report on the weights that were loaded into a network.

    Attributes:
        sha256: digest of the file; None for a library's published weights.
        loaded: number of tensors loaded.
        fresh: names of the network's tensors that keep their fresh weights.
        left: names of the file's tensors that the network does not have.
        adapted: descriptions of what was changed to make the weights fit.
    """

    sha256: str | None
    loaded: int
    fresh: list[str]
    left: list[str]
    adapted: list[str]

    def __str__(self) -> str:
        words = [f"{self.loaded} tensors loaded", *self.adapted]
        for title, names in (("not in the file", self.fresh), ("unused", self.left)):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                words.append(f"{title}: {', '.join(names[:4])}{more}")
        return "; ".join(words)


def load_weights(network: Classifier, name: str, settings: Any, classes: list[str]) -> dict[str, LoadReport]:
    """Load the chosen weights into a network or its parts.

    Args:
        network: with fresh weights.
        name: of the network.
        settings: the block `models.<name>`.
        classes: K names in the order of the logits.

    Returns:
        A report for each part, "" for the whole network. Parts with fresh weights are left out.

    Raises:
        UserError: the weights are unavailable, hold more than tensors, or do not fit.
    """
    return {
        part: _load(_part(network, part), choice, key_of(name, part), classes)
        for part, choice in choices_by_part(settings).items()
    }


def check_names(name: str, settings: Any) -> None:
    """Reject names of weights that no library publishes for a network. Nothing is downloaded.

    Raises:
        UserError: lists the names that are published.
    """
    with torch.device("meta"):  # no memory is filled
        network = build_network(name, settings, classes=2, channels=3)
    for part, choice in choices_by_part(settings).items():
        if not is_file(choice):
            _require_published(_part(network, part), choice, key_of(name, part))


def _part(network: Classifier, part: str) -> Classifier:
    return network.parts[part] if part else network


def _require_published(network: Classifier, choice: str, key: str) -> None:
    if choice not in network.published.choices:
        allowed = ["null", *network.published.choices, *(f"a {end} file" for end in SAFE + PICKLED)]
        raise UserError.of(key, repr(choice), allowed)


def _load(network: Classifier, choice: str, key: str, classes: list[str]) -> LoadReport:
    if not is_file(choice):
        _require_published(network, choice, key)
        try:
            tensors = network.published.fetch(choice)
        except Exception as error:  # libraries and their transports raise many kinds
            raise UserError(f"{key}: {choice} cannot be downloaded: {one_line(error)}") from None
        return _copied(network, tensors, None, classes, f"{key}: {choice}", None)
    path = existing(choice, key)
    tensors, earlier = _safe_tensors(path) if choice.endswith(SAFE) else (_pickled_tensors(path), None)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return _copied(network, tensors, earlier, classes, str(path), digest)


def _safe_tensors(path: Path) -> tuple[dict[str, Tensor], list[str] | None]:
    """Return the tensors of a safetensors file, and its classes if an earlier run wrote it."""
    try:
        classes = classes_in(path)
        with safe_open(path, "pt") as opened:
            tensors = unpacked({key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118
        if classes is not None:
            shapes = tensors["head.weight"].shape[:1], tensors["head.bias"].shape
            if shapes != ((len(classes),), (len(classes),)):
                raise ValueError(f"it names {len(classes)} classes, and its last layer has another number")
        return tensors, classes
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file of weights: {one_line(error)}") from None


def _pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that torch wrote. No code in it runs: torch reads only tensors and containers."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: refused: it holds more than tensors and could run code") from None
    except Exception as error:  # the kind depends on the damaged byte
        raise UserError(f"{path}: not a file of weights: {one_line(error)}") from None
    tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not tensors or not all(map(_is_plain, tensors.values())):
        raise UserError.of(path, "content other than named tensors", "a state_dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor that a network's tensor can be copied from."""
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"


@torch.no_grad()
def _copied(
    network: Classifier,
    tensors: dict[str, Tensor],
    earlier: list[str] | None,
    classes: list[str],
    source: str,
    digest: str | None,
) -> LoadReport:
    """Copy tensors into the network and report on the copied tensors.

    Args:
        network: with fresh weights.
        tensors: by name. A file of an earlier run has the names of this network. A library names its tensors
            differently: `network.names` maps this network's names to the library's.
        earlier: classes of an earlier run; None for a library's tensors.
        classes: of the network.
        source: of the tensors, for error messages.
        digest: SHA-256 of the file.
    """
    own = network.state_dict()
    names = network.names
    if earlier is not None:
        names = {name: name for name in own}
        if earlier != classes or tensors["head.weight"].shape != network.head.weight.shape:
            names = {name: name for name in own if not name.startswith("head.")}
    first = next(name for name, tensor in own.items() if tensor.ndim == 4)
    fresh, adapted = [], []
    for name, tensor in own.items():
        given = tensors.get(names.get(name, ""))
        # Older files lack the count of batches, which has no effect with a fixed momentum.
        if given is None and name.endswith("num_batches_tracked"):
            continue
        # Two kinds of tensors need not be in the file: those without a name in `network.names`, like the layer `extra`,
        # and the tensors of a booster (`AccuracyBooster`). Boosters have names there, but no library publishes their
        # weights.
        if given is None and name in network.names and ".booster." not in name:
            raise UserError(f"{source}: has no tensor {names[name]}, allowed: weights of this network")
        if given is None:
            fresh.append(name)
            continue
        if name == first and given.shape[1:2] != tensor.shape[1:2] and given.shape[2:] == tensor.shape[2:]:
            given = _with_channels(given, tensor.shape[1])
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
    if earlier is not None and "head.weight" in fresh:
        adapted.append(_copied_head(network, tensors, earlier, classes))
        fresh, left = ([name for name in names if not name.startswith("head.")] for names in (fresh, left))
    return LoadReport(digest, loaded, fresh, left, adapted)


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution's weights [O, C, h, w] for another number of channels.

    One channel gets the sum of the weights: a grey face then has the output that an RGB face with three such channels
    had before. Each of three channels gets a third of the sum: an RGB face then has the output that the mean of the
    face's three channels had before.
    """
    total = weight.sum(1, keepdim=True)
    return total if channels == 1 else total.expand(-1, channels, -1, -1) / channels


def _copied_head(
    network: Classifier, tensors: dict[str, Tensor], earlier: list[str], classes: list[str]
) -> str:
    """Copy the last layer's rows of the classes that both runs have; return a description of the copied rows."""
    shared = [name for name in classes if name in earlier]
    weight, bias = tensors["head.weight"], tensors["head.bias"]
    if weight.shape[1:] != network.head.weight.shape[1:]:
        return "last layer newly initialised"
    for name in shared:
        network.head.weight[classes.index(name)] = weight[earlier.index(name)]
        network.head.bias[classes.index(name)] = bias[earlier.index(name)]
    return f"last layer: {len(shared)} of {len(classes)} classes loaded by name, the others newly initialised"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
