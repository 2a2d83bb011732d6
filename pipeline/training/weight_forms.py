"""The forms in which weights are published: recognised by the names and shapes of their tensors.

A form says how its file names the tensors of a network, and what the network must be so that its features are those of
the authors. docs/weights.md lists the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.core.errors import UserError

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Form:
    """A form of published weights.

    Attributes:
        title: what the file holds.
        networks: names of the networks that take it.
        use: the settings with which it is used, for messages.
        timm: parts of `models.timm.name`, if timm's networks take it.
        renamed: returns the file's name of a tensor that the network's library names so.
    """

    title: str
    networks: tuple[str, ...]
    use: str
    timm: tuple[str, ...] = ()
    renamed: Callable[[str], str] = str


def recognised(tensors: Tensors) -> Form | None:
    """Return the form of a file's tensors; None if it is none of those known."""
    return next((form for find in _FINDERS if (form := find(tensors))), None)


def require_network(form: Form, path: Path, name: str, settings: Any) -> None:
    """Reject weights in a form that the chosen network does not take.

    Args:
        form: of the file.
        path: of the file.
        name: of the network.
        settings: the block `models.<name>`.

    Raises:
        UserError: names what the file holds, and the settings for it.
    """
    network = settings.name if name == "timm" else name
    if name not in form.networks or (name == "timm" and not all(part in network for part in form.timm)):
        raise UserError.of(path, f"{form.title}, which {network} does not take", f"with {form.use}")


def _resnet18_in_sequence(tensors: Tensors) -> Form | None:
    if not _any(r"features\.[4-7]\.\d\.conv1\.weight", tensors) or _any(r".*\.conv3\.weight", tensors):
        return None
    title, networks = "ResNet-18 in the names of SCN and DAN", ("resnet18", "resnet18_booster")
    return Form(title, networks, "model resnet18", renamed=_name_in_sequence)


def _name_in_sequence(name: str) -> str:
    """Return the name in `nn.Sequential(*resnet.children())`: 0 is conv1, 1 is bn1, 4 to 7 are the groups of blocks."""
    module, _, rest = name.partition(".")
    place = {"conv1": 0, "bn1": 1}.get(module)
    return f"features.{int(module[-1]) + 3 if place is None else place}.{rest}"


def _resnet(tensors: Tensors) -> Form | None:
    """Recognise what torchvision names so: ResNet-18, such as MS-Celeb's of SCN and DAN, and ResNet-50."""
    if not _any(r"layer1\.0\.conv1\.weight", tensors) or _any(r".*\.(se|prelu)\..*", tensors):
        return None
    form = _any(r"layer\d\.0\.conv3\.weight", tensors), _blocks(tensors, "layer3")
    title, network = {(False, 2): ("ResNet-18", "resnet18"), (True, 6): ("ResNet-50", "resnet50")}.get(
        form, ("", "")
    )
    # ResNeXt and Wide ResNet have these names too.
    if not title or _shape(tensors, "layer4.0.conv2.weight")[:2] not in ((), (512, 512)):
        return None
    networks = network, f"{network}_booster", "timm"
    return Form(f"{title} in torchvision's names", networks, f"model {network}")


def _efficientnet(tensors: Tensors) -> Form | None:
    """Recognise EfficientNet-B0 and -B2 in timm's names, such as EmotiEffLib's."""
    head = _shape(tensors, "conv_head.weight")[:2], _blocks(tensors, "blocks.3")
    known: dict[Any, str] = {((1280, 320), 3): "b0", ((1408, 352), 4): "b2"}
    name = known.get(head)
    if name is None or not _any(r"blocks\.0\.0\.se\.conv_reduce\.weight", tensors):
        return None
    use = f"model timm and models.timm.name tf_efficientnet_{name}"
    return Form(f"EfficientNet-{name.upper()} in timm's names", ("timm",), use, ("efficientnet", f"_{name}"))


_FINDERS = (_resnet18_in_sequence, _efficientnet, _resnet)


def _any(pattern: str, tensors: Tensors) -> bool:
    return any(re.fullmatch(pattern, name) for name in tensors)


def _blocks(tensors: Tensors, group: str) -> int:
    """Return the number of blocks in a group, by the last block that is named."""
    found = (re.match(rf"{re.escape(group)}\.(\d+)\.", name) for name in tensors)
    return 1 + max((int(block[1]) for block in found if block), default=-1)


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    return tuple(tensors[name].shape) if name in tensors else ()
