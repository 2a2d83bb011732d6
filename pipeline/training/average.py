"""The exponential moving average of a network's weights (Polyak & Juditsky 1992).

timm's `ModelEmaV3` computes the same bytes, but its import takes 3.1 s of processor time. GANs use this average too,
and on CPUs each GAN trains in its own process. Each of these processes would spend the 3.1 s again. torch's
`AveragedModel` reads a counter in every step, which a CUDA graph cannot record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.training.checkpoint import snapshot


class Average:
    """The average of a network's weights and running statistics.

    With a `decay` of 0 there is no average and the network itself is used.

    Attributes:
        weights: the averaged tensors by name; empty if `decay` is 0.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.weights = snapshot(network) if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Set the average to decay x average + (1 - decay) x network after a step. Integer counters are copied."""
        if not self.weights:
            return
        own = self.network.state_dict()
        averaged = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[name] for name in averaged], [own[name] for name in averaged], 1 - self.decay
        )
        for name in own.keys() - averaged:
            self.weights[name].copy_(own[name])

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Copy `weights` into the average's own tensors.

        The average's tensors keep their memory layout, because arithmetic in another layout may round differently.
        """
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network use the average inside a `with` block."""
        if not self.weights:
            yield
            return
        own = snapshot(self.network)
        self.network.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.network.load_state_dict(own)
