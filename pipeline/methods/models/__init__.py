"""One module per family of networks. A network is a public function of its family's module.

The function takes `(settings, classes, channels)` and returns a `Classifier`. The settings are a class in
`pipeline/params/models.py`; `FAMILIES` names the module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from pipeline.methods.models.parts.convolution import Convolution
from pipeline.params.models import NetworkSettings

# Mean and standard deviation for scaling faces, one for all channels or one per channel. FER+ has 0.51 and 0.25.
Scaling = tuple[tuple[float, ...], tuple[float, ...]]
SCALINGS: dict[str, Scaling] = {
    "faces": ((0.5,), (0.25,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0,), (1.0,)),
    "arcface": ((0.5,), (0.5,)),
    # Cao et al. 2018: pixels from 0 to 255 less the mean over VGGFace2.
    "vggface2": ((131.0912 / 255, 103.8827 / 255, 91.4953 / 255), (1 / 255,)),
}


# The module, in this package, that builds each network.
FAMILIES = {
    "resnet18": "resnet",
    "resnet50": "resnet",
    "resnet18_booster": "booster",
    "resnet50_booster": "booster",
    "se_resnet50": "se_resnet",
    "iresnet50": "iresnet",
    "iresnet100": "iresnet",
    "densenet121": "densenet",
    "efficientnet_b0": "efficientnet",
    "vgg19_fer": "vgg",
    "vgg13": "vgg_imagenet",
    "vgg16": "vgg_imagenet",
    "light": "light",
    "fast": "fast",
    "timm": "timm",
    "svm_deep_features": "deep_features",
}


@dataclass(frozen=True)
class Published:
    """Pretrained weights that a library offers for its network.

    Attributes:
        choices: the library's names of the weights.
        fetch: returns the weights of a name, with the library's tensor names; downloads them on first use.
    """

    choices: tuple[str, ...] = ()
    fetch: Callable[[str], dict[str, Tensor]] = field(default=lambda name: {})


class Classifier(nn.Module):
    """A body that maps faces to features, and a linear layer that maps features to logits.

    Args:
        body: maps float [N, C, H, W] to [N, D].
        features: number of features D.
        classes: number of classes K.
        dropout: share of the features dropped in training, 0 to 1.

    Attributes:
        mean, deviation: mean and standard deviation for scaling faces, [1, 1, 1] or [C, 1, 1].
        frozen: modules that do not train.
        published: pretrained weights that a library offers for the body.
        names: the library's tensor names, by the names of the same tensors in `state_dict`.
        parts: classifiers whose features are concatenated, by name; each starts from weights of its own.
        grouped: the parameters of each layer of `body`, if a library says which are one layer; otherwise empty.
        located: the module whose output, maps [N, D, h, w], class-activation maps show; None: a stage of `body`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, body: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        self.scale(SCALINGS["faces"])
        self.frozen: tuple[nn.Module, ...] = ()
        self.published = Published()
        self.names: dict[str, str] = {}
        self.parts: dict[str, Classifier] = {}
        self.located: nn.Module | None = None
        self.grouped: list[list[nn.Parameter]] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces, float [N, C, H, W] in 0..1, to logits [N, K] and features [N, D]."""
        features = self.body((images - self.mean) / self.deviation)
        return self.head(self.dropout(features)), features

    def scale(self, scaling: Scaling, grey: bool = False) -> None:
        """Scale faces by a mean and a deviation, see `SCALINGS`; grey faces by their means over channels."""
        for name, values in zip(("mean", "deviation"), scaling, strict=True):
            tensor = torch.tensor(values)[:, None, None]
            self.register_buffer(name, tensor.mean(0, keepdim=True) if grey else tensor, persistent=False)

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each layer, from the face to the classes."""
        modules = self.body if isinstance(self.body, nn.Sequential) else [self.body]
        of_body = self.grouped or [list(module.parameters()) for module in modules]
        held = {id(parameter) for layer in of_body for parameter in layer}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in held]
        return [layer for layer in of_body if layer] + [rest]

    def name_as(self, library: nn.Module) -> None:
        """Note the names of the tensors in a library's network, of whose layers this one is made."""
        theirs = {id(tensor): name for name, tensor in library.state_dict(keep_vars=True).items()}
        ours = self.state_dict(keep_vars=True)
        self.names = {name: theirs[id(tensor)] for name, tensor in ours.items() if id(tensor) in theirs}

    def freeze(self, modules: Sequence[nn.Module]) -> None:
        """Freeze modules: neither their weights nor the running statistics of batch norm change."""
        self.frozen = tuple(modules)
        for module in modules:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode of all modules except the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


@torch.no_grad()
def shapes_of(modules: Sequence[nn.Module], network: nn.Module, images: Tensor) -> list[torch.Size]:
    """Return the shape of what each of a network's modules makes of images."""
    shapes: dict[nn.Module, torch.Size] = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: shapes.__setitem__(module, output.shape))
        for module in modules
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return [shapes[module] for module in modules]


class GlobalAverage(nn.Module):
    """Mean over positions. Unlike torch's adaptive pooling, its gradient is deterministic on a GPU too."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, D, H, W] to [N, D]."""
        return maps.mean((2, 3))


def assemble(
    settings: NetworkSettings,
    classes: int,
    stages: Sequence[Sequence[nn.Module]],
    features: int,
    library: nn.Module,
    published: Published,
    pool: Sequence[nn.Module] = (),
) -> Classifier:
    """Return a classifier built from a library's layers.

    Args:
        settings: settings of the network.
        classes: number of classes K.
        stages: layers from the face to maps, in stages; the first layer is a convolution.
        features: number of features D after `pool`.
        library: the library's network with these layers.
        published: pretrained weights that the library offers for it.
        pool: layers from maps to features; empty for the mean over positions.
    """
    layers = [*chain(*stages), *(pool or [GlobalAverage()])]
    if settings.extra:
        layers.append(nn.Linear(features, settings.extra))
    network = Classifier(trunk(*layers), settings.extra or features, classes, settings.dropout)
    network.freeze(list(chain(*stages[: settings.frozen])))
    network.scale(SCALINGS[settings.scaling], grey=next(network.parameters()).shape[1] == 1)
    network.name_as(library)
    network.published = published
    return network


def trunk(*layers: nn.Module) -> nn.Sequential:
    """Return the layers in sequence, prepared for small faces.

    The layers are in channels-last order, in which convolutions are faster on CPU and GPU. The library's convolutions
    become `Convolution`, which has the same parameters.
    """
    sequence = nn.Sequential(*layers)
    for first, second in pairwise(sequence):
        # Batch norm subtracts the mean, so a bias before it changes nothing. Its gradient is the rounding of zero.
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and first.bias is not None:
            first.bias.requires_grad_(False)
    for module in sequence.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution
    return sequence.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def convolution(channels: int, width: int, kernel: int, stride: int, bias: bool = False) -> nn.Conv2d:
    """Return a first convolution with the weights of He et al. (2015) and zero biases, padded by half its kernel."""
    first = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    if first.bias is not None:
        nn.init.zeros_(first.bias)
    return first
