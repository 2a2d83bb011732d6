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
        caffe: whether the network must have the form `caffe: true`.
        blue_first: whether the first convolution expects blue as its first channel.
        scaling: the value of `scaling` that the weights expect; empty if several will do.
        renamed: returns the file's name of a tensor that the network's library names so.
    """

    title: str
    networks: tuple[str, ...]
    use: str
    timm: tuple[str, ...] = ()
    caffe: bool = False
    blue_first: bool = False
    scaling: str = ""
    renamed: Callable[[str], str] = str

    def advice(self, model: str, settings: Any) -> list[str]:
        """Return which settings of a network do not give the features of the authors."""
        said = []
        if self.scaling and settings.scaling != self.scaling:
            said.append(f"they expect models.{model}.scaling: {self.scaling}")
        if self.timm and not settings.name.startswith("tf_"):
            said.append(
                f"EmotiEffLib's expect {self.use.rpartition(' and ')[2]}, which pads as TensorFlow does"
            )
        return said


IDENTITIES = 8631  # of VGGFace2's training set, the classes of a network trained on it


def recognised(tensors: Tensors) -> Form | None:
    """Return the form of a file's tensors; None if it is none of those known."""
    return next((form for find in _FINDERS if (form := find(tensors))), None)


def require_network(form: Form | None, path: Path, name: str, settings: Any) -> None:
    """Reject weights in a form that the chosen network does not take.

    Args:
        form: of the file; None if it is not known.
        path: of the file.
        name: of the network.
        settings: the block `models.<name>`.

    Raises:
        UserError: names what the file holds, and the settings for it.
    """
    network, title = (
        settings.name if name == "timm" else name,
        form.title if form else "weights of no known form",
    )
    caffe = getattr(settings, "caffe", False)
    if form and (
        name not in form.networks or (name == "timm" and not all(part in network for part in form.timm))
    ):
        raise UserError.of(path, f"{title}, which {network} does not take", f"with {form.use}")
    if form and form.caffe and not caffe:
        raise UserError.of(path, title, f"with models.{name}.caffe: true")
    if caffe and not (form and form.caffe):
        allowed = f"VGGFace2's, known by {IDENTITIES:,} identities, or models.{name}.caffe: false"
        raise UserError.of(path, title, allowed)


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


def _vggface2(tensors: Tensors) -> Form | None:
    """Recognise VGGFace2's ResNet-50 and SE-ResNet-50 as converted from Caffe to torchvision's names.

    The pixels are blue first. Squeeze and excitation are the convolutions 4 and 5 of a block. ResNet-50 has no tensor
    of its own: it is known by the identities, and by batch norm that has not counted a batch in torch.
    """
    squeezes = _any(r"layer\d\.\d\.conv[45]\.(weight|bias)", tensors)
    if not squeezes and not (
        _any(r"layer\d\.\d\.conv3\.weight", tensors)
        and IDENTITIES in (*_shape(tensors, "fc.weight")[:1], *_shape(tensors, "fc.bias"))
        and not any(
            tensor.count_nonzero() for name, tensor in tensors.items() if name.endswith("num_batches_tracked")
        )
    ):
        return None
    return _caffe(squeezes, _converted_name, blue_first=True)


def _vggface2_of_authors(tensors: Tensors) -> Form | None:
    """Recognise VGGFace2's ResNet-50 and SE-ResNet-50 as their authors publish them for torch, red first."""
    if not _any(r"conv\d_\d_1x1_(reduce|increase)\.weight", tensors):
        return None
    if IDENTITIES not in (*_shape(tensors, "classifier.weight")[:1], *_shape(tensors, "classifier.bias")):
        return None  # ImageNet's networks have the same names
    return _caffe(_any(r"conv\d_\d_1x1_(down|up)\..*", tensors), _authors_name, blue_first=False)


def _caffe(squeezes: bool, renamed: Callable[[str], str], blue_first: bool) -> Form:
    title, network = ("SE-ResNet-50", "se_resnet50") if squeezes else ("ResNet-50", "resnet50")
    return Form(
        f"VGGFace2's {title}",
        (network,),
        f"model {network} and models.{network}.caffe: true",
        caffe=True,
        blue_first=blue_first,
        scaling="vggface2",
        renamed=renamed,
    )


def _converted_name(name: str) -> str:
    return name.replace(".se.fc1.", ".conv4.").replace(".se.fc2.", ".conv5.")


def _authors_name(name: str) -> str:
    """Return Caffe's name of a layer: group 1 of blocks is conv2, and blocks count from 1."""
    module, _, end = name.rpartition(".")
    if not (block := re.fullmatch(r"layer(\d)\.(\d)\.(.*)", module)):
        return {"conv1": "conv1_7x7_s2", "bn1": "conv1_7x7_s2_bn"}.get(module, module) + f".{end}"
    return f"conv{int(block[1]) + 1}_{int(block[2]) + 1}_{_LAYERS[block[3]]}.{end}"


# Caffe's names of a block's layers.
_LAYERS = {
    "conv1": "1x1_reduce",
    "bn1": "1x1_reduce_bn",
    "conv2": "3x3",
    "bn2": "3x3_bn",
    "conv3": "1x1_increase",
    "bn3": "1x1_increase_bn",
    "se.fc1": "1x1_down",
    "se.fc2": "1x1_up",
    "downsample.0": "1x1_proj",
    "downsample.1": "1x1_proj_bn",
}


def _arcface(tensors: Tensors) -> Form | None:
    """Recognise IResNet-50 and -100 in the names of insightface's arcface_torch."""
    if not _any(r"layer\d\.\d+\.prelu\.weight", tensors):
        return None
    depth = {14: "50", 30: "100"}.get(_blocks(tensors, "layer3"))
    if depth is None:
        return Form("an IResNet of another depth than 50 or 100", (), "model iresnet50 or iresnet100")
    return Form(
        f"ArcFace's IResNet-{depth}", (f"iresnet{depth}",), f"model iresnet{depth}", scaling="arcface"
    )


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


_FINDERS = (_vggface2, _vggface2_of_authors, _resnet18_in_sequence, _arcface, _efficientnet, _resnet)


def _any(pattern: str, tensors: Tensors) -> bool:
    return any(re.fullmatch(pattern, name) for name in tensors)


def _blocks(tensors: Tensors, group: str) -> int:
    """Return the number of blocks in a group, by the last block that is named."""
    found = (re.match(rf"{re.escape(group)}\.(\d+)\.", name) for name in tensors)
    return 1 + max((int(block[1]) for block in found if block), default=-1)


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    return tuple(tensors[name].shape) if name in tensors else ()
