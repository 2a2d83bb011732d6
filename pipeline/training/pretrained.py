"""Weights to start from: published by a library, from an earlier run, or from a file in a form that is known.

If the weights do not fit the body (everything before the last layer), they are refused. A library's weights do not fill
the last layer, nor any layer that the library's network lacks. These layers keep their initial values, and the report
names them. An earlier run's weights also fill the last layer. If its classes differ, only the rows of the classes that
both runs have are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import sha256_of
from pipeline.inference.model_file import build_network
from pipeline.methods.models import Classifier
from pipeline.training.weight_files import read_tensors
from pipeline.training.weight_forms import Form, recognised, require_network
from pipeline.training.weights import PICKLED, SAFE, choices_by_part, existing, is_file, key_of

# What forms call the weights of their last layer.
_LAST = {"fc.weight", "classifier.weight", "classifier.0.weight", "classifier.1.weight", "head.fc.weight"}

# The stem whose first convolution has a kernel of this size.
_STEMS: dict[tuple[int, ...], str] = {(7, 7): "standard", (3, 3): "small"}


@dataclass(frozen=True)
class LoadReport:
    """A report on the weights that were loaded into a network.

    Attributes:
        sha256: digest of the file; None for a library's published weights.
        form: what the file was recognised as; None for an earlier run and for the library's own names.
        loaded: number of tensors loaded.
        fresh: names of the network's tensors that keep their fresh weights.
        left: names of the file's tensors that the network does not have.
        adapted: descriptions of what was changed to make the weights fit.
        advice: settings that the weights expect and the network does not have.
    """

    sha256: str | None
    form: str | None
    loaded: int
    fresh: list[str]
    left: list[str]
    adapted: list[str]
    advice: list[str]

    def __str__(self) -> str:
        words = [
            f"{self.loaded} tensors loaded{f' as {self.form}' if self.form else ''}",
            *self.adapted,
            *self.advice,
        ]
        for title, names in (("not in the file", self.fresh), ("left out", self.left)):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                words.append(f"{title}: {', '.join(names[:4])}{more}")
        return "; ".join(words)


@dataclass(frozen=True)
class _Source:
    """Weights to copy from.

    Attributes:
        title: the file or the library's name of the weights, for error messages.
        tensors: by name.
        classes: of an earlier run; None for a library's or a stranger's tensors.
        form: in which a stranger published them; None if it is not known.
        digest: SHA-256 of the file.
    """

    title: str
    tensors: dict[str, Tensor]
    classes: list[str] | None = None
    form: Form | None = None
    digest: str | None = None


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
        part: _load(_part(network, part), choice, part or name, settings, key_of(name, part), classes)
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


def _load(
    network: Classifier, choice: str, name: str, settings: Any, key: str, classes: list[str]
) -> LoadReport:
    source = _of_file(choice, name, settings, key) if is_file(choice) else _of_library(network, choice, key)
    return _copied(network, source, classes, name, settings)


def _of_library(network: Classifier, choice: str, key: str) -> _Source:
    _require_published(network, choice, key)
    try:
        tensors = network.published.fetch(choice)
    except Exception as error:  # libraries and their transports raise many kinds
        raise UserError(f"{key}: {choice} cannot be downloaded: {one_line(error)}") from None
    return _Source(f"{key}: {choice}", tensors)


def _of_file(choice: str, name: str, settings: Any, key: str) -> _Source:
    path = existing(choice, key)
    tensors, earlier = read_tensors(path)
    form = recognised(tensors) if earlier is None else None
    if earlier is None:
        require_network(form, path, name, settings)
    return _Source(str(path), tensors, earlier, form, sha256_of(path))


@torch.no_grad()
def _copied(
    network: Classifier, source: _Source, classes: list[str], model: str, settings: Any
) -> LoadReport:
    """Copy tensors into the network and report on the copied tensors.

    Args:
        network: with fresh weights. `network.names` has the library's names of its tensors, which a form renames. A
            file of an earlier run has the network's own names.
        source: of the tensors.
        classes: of the network.
        model: name of the network.
        settings: the block `models.<model>`.
    """
    own, tensors, earlier = network.state_dict(), source.tensors, source.classes
    names = {
        name: source.form.renamed(theirs) if source.form else theirs for name, theirs in network.names.items()
    }
    if earlier is not None:
        names = {name: name for name in own}
        if earlier != classes or tensors["head.weight"].shape != network.head.weight.shape:
            names = {name: name for name in own if not name.startswith("head.")}
    first = next(name for name, tensor in own.items() if tensor.ndim == 4)
    extra = f"body.{len(list(network.body.children())) - 1}." if getattr(settings, "extra", None) else "-"
    loaded, fresh = 0, []
    adapted: list[str] = []
    for name, tensor in own.items():
        given = tensors.get(names.get(name, ""))
        # Older files lack the count of batches, which has no effect with a fixed momentum.
        if given is None and name.endswith("num_batches_tracked"):
            continue
        # Two kinds of tensors need not be in the file: those of the layer `extra`, and those of a booster
        # (`AccuracyBooster`). Boosters have names in `network.names`, but no library publishes their weights.
        needed = name in network.names or (earlier is not None and name.startswith("body."))
        if given is None and needed and not name.startswith(extra) and ".booster." not in name:
            raise UserError(
                f"{source.title}: found no tensor {names[name]}, allowed for this network: one of {_shape(tensor)}"
            )
        if given is None:
            fresh.append(name)
            continue
        needs = ""
        if name == first:
            given = _first(given, tensor, source.form, adapted)
            stem = _STEMS.get(tuple(given.shape[2:])) if hasattr(settings, "stem") else None
            needs = f"; its stem needs models.{model}.stem: {stem}" if stem else ""
        if given.shape != tensor.shape:
            found = f"{source.title}: found {names[name]} of {_shape(given)}"
            raise UserError(f"{found}, allowed for this network: {_shape(tensor)}{needs}")
        tensor.copy_(given)
        loaded += 1
    if not loaded:
        found = ", ".join(sorted(tensors)[:3]) or "nothing"
        allowed = f"tensors of {model}, such as {first} of {_shape(own[first])}"
        raise UserError(
            f"{source.title}: found none of the network's tensors ({found}, ...), allowed: {allowed}"
        )
    left = sorted(set(tensors) - set(names.values()))
    if earlier is not None and "head.weight" in fresh:
        adapted.append(_copied_head(network, tensors, earlier, classes))
        fresh, left = ([name for name in names if not name.startswith("head.")] for names in (fresh, left))
    form, advice = source.form, source.form.advice(model, settings) if source.form else []
    return LoadReport(
        source.digest,
        form.title if form else None,
        loaded,
        fresh,
        _counted(left, tensors),
        adapted,
        advice,
    )


def _first(given: Tensor, own: Tensor, form: Form | None, adapted: list[str]) -> Tensor:
    """Return the weights of a first convolution for the network's channels, red first; describe the change."""
    if form and form.blue_first and given.ndim == 4:
        given = given.flip(1)
        adapted.append("first convolution turned from blue first to red first")
    if given.shape[1:2] == own.shape[1:2] or given.shape[2:] != own.shape[2:]:
        return given
    adapted.append(f"first convolution {'summed' if own.shape[1] == 1 else 'spread'} over channels")
    return _with_channels(given, own.shape[1])


def _counted(names: list[str], tensors: dict[str, Tensor]) -> list[str]:
    """Return the names of tensors; that of a last layer says how many classes it has."""
    return [
        f"{name} ({len(tensors[name]):,} classes)" if name in _LAST and tensors[name].ndim > 1 else name
        for name in names
    ]


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
