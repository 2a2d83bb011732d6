"""One module per network family; a network's name is a public function there.

Such a function takes `(settings, classes, channels)` and returns a `Classifier`. Its settings are a
class in `pipeline/params/models.py`, which names the family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from pipeline.methods.models.parts.convolution import Convolution
from pipeline.params.models import NetworkSettings

# Mean and deviation by which faces are scaled, for all channels or each: FER+ has 0.51 and 0.25.
SCALINGS = {
    "faces": ((0.5,), (0.25,)),
    "none": ((0.0,), (1.0,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class Published:
    """Weights that a library offers for its network.

    Attributes:
        choices: the library's names for them.
        fetch: returns those of a name by the library's own tensor names; downloads them on first use.
    """

    choices: tuple[str, ...] = ()
    fetch: Callable[[str], dict[str, Tensor]] = field(default=lambda name: {})


class Classifier(nn.Module):
    """A body that turns faces into features and one linear layer that turns features into logits.

    Args:
        body: maps float [N, C, H, W] to [N, D].
        features: D.
        classes: K.
        dropout: share of the features dropped in training, 0 to 1.

    Attributes:
        mean, deviation: [1, 1, 1] or [C, 1, 1], by which faces are scaled.
        frozen: modules that do not train.
        published: weights that a library offers for the body.
        names: names of the body's tensors in `state_dict`, each with that library's.
        parts: classifiers whose features make this one's, by name; each starts from weights of its own.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, body: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        self.scale("faces")
        self.frozen: tuple[nn.Module, ...] = ()
        self.published = Published()
        self.names: dict[str, str] = {}
        self.parts: dict[str, Classifier] = {}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces, float [N, C, H, W] in 0..1, to logits [N, K] and features [N, D]."""
        features = self.body((images - self.mean) / self.deviation)
        return self.head(self.dropout(features)), features

    def scale(self, scaling: str, grey: bool = False) -> None:
        """Scale faces as one of `SCALINGS` says; grey ones by the means over its channels."""
        for name, values in zip(("mean", "deviation"), SCALINGS[scaling], strict=True):
            tensor = torch.tensor(values)[:, None, None]
            self.register_buffer(name, tensor.mean(0, keepdim=True) if grey else tensor, persistent=False)

    def freeze(self, modules: Sequence[nn.Module]) -> None:
        """Stop the modules from training: neither weights nor batch norm's running statistics change."""
        self.frozen = tuple(modules)
        for module in modules:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode of all but the frozen modules, which stay as they are in evaluation."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


class GlobalAverage(nn.Module):
    """Mean over positions. Unlike torch's adaptive pooling its gradient is deterministic on a GPU as well."""

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
    """Return a classifier made of a library's layers.

    Args:
        settings: the network's settings.
        classes: K.
        stages: layers from the face to maps, in stages; the first layer is a convolution.
        features: D after `pool`.
        library: the library's network that the layers belong to.
        published: weights that the library offers for it.
        pool: layers from maps to features; nothing stands for the mean over positions.
    """
    layers = [*chain(*stages), *(pool or [GlobalAverage()])]
    if settings.extra:
        layers.append(nn.Linear(features, settings.extra))
    network = Classifier(trunk(*layers), settings.extra or features, classes, settings.dropout)
    network.freeze(list(chain(*stages[: settings.frozen])))
    network.scale(settings.scaling, grey=next(network.parameters()).shape[1] == 1)
    theirs = {id(tensor): name for name, tensor in library.state_dict(keep_vars=True).items()}
    ours = network.state_dict(keep_vars=True)
    network.names = {name: theirs[id(tensor)] for name, tensor in ours.items() if id(tensor) in theirs}
    network.published = published
    return network


def trunk(*layers: nn.Module) -> nn.Sequential:
    """Return the layers in a row, ready for small faces.

    In channels-last order, which convolutions on CPU and GPU prefer, and with the library's convolutions turned
    into `Convolution`, which has the same parameters.
    """
    row = nn.Sequential(*layers)
    for module in row.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution
    return row.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def convolution(channels: int, width: int, kernel: int, stride: int, bias: bool = False) -> nn.Conv2d:
    """Return a first convolution with He et al.'s (2015) weights and biases of zero, padded by half its kernel."""
    first = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    if first.bias is not None:
        nn.init.zeros_(first.bias)
    return first
