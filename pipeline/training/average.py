"""The exponential moving average of a network's weights (Polyak & Juditsky 1992), kept beside the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.training.checkpoint import snapshot


class Average:
    """The average of a network's weights and running statistics; of a `decay` of 0 it is the network itself.

    Attributes:
        weights: the average by the network's own names; empty if `decay` is 0.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.weights = snapshot(network) if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """After a step: average = decay x average + (1 - decay) x network. What is counted is copied."""
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
        """Put back what `weights` held, in the layout that it had: another one rounds differently."""
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the network use the average for a while."""
        if not self.weights:
            yield
            return
        own = snapshot(self.network)
        self.network.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.network.load_state_dict(own)
