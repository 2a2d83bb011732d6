"""One module per network family; a network's name is a public function there.

Such a function takes `(params, classes, channels)` and returns a `Classifier`. `Params` in a module are the
settings under `models.<network>`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks._convolution import Convolution


class Classifier(nn.Module):
    """A body that turns faces into features and one linear layer that turns features into logits.

    Args:
        body: maps float [N, C, H, W] to [N, D].
        features: D.
        classes: K.
        dropout: share of the features dropped in training, 0 to 1.
    """

    def __init__(self, body: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces, float [N, C, H, W] in 0..1, to logits [N, K] and features [N, D]."""
        features = self.body((images - 0.5) / 0.25)  # FER+ faces have mean 0.51 and deviation 0.25
        return self.head(self.dropout(features)), features


class GlobalAverage(nn.Module):
    """Mean over positions. Unlike torch's adaptive pooling its gradient is deterministic on a GPU as well."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, D, H, W] to [N, D]."""
        return maps.mean((2, 3))


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
