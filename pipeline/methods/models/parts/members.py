"""Several networks in one, which learn apart and predict together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional


class Members(nn.Module):
    """Several networks, each with channels of its own in the maps. The layers after them must be linear.

    In training, the networks divide each batch among them. All channels of a face are zero but those of its network, so
    each network learns as if it were alone. In evaluation, each network sees all faces. Their maps are divided by their
    number, so the logits are the mean of what the networks alone would give (Lakshminarayanan et al. 2017 average the
    probabilities).
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, M D, h, w] for M networks of D channels."""
        count = len(self.networks)
        if not self.training:
            return torch.cat([network(images) for network in self.networks], 1) / count
        parts = images.tensor_split(max(1, min(count, len(images) // 2)))  # batch norm needs two faces
        networks = list(self.networks)[: len(parts)]
        weights = [weight for network in networks for weight in network.parameters() if weight.requires_grad]
        if _at_once(images) and weights:
            maps = _AtOnce.apply(networks, parts, *weights)
        else:
            maps = [network(part) for network, part in zip(networks, parts, strict=True)]
        width = maps[0].shape[1]
        padded = [
            functional.pad(own, (0, 0, 0, 0, i * width, (count - 1 - i) * width))
            for i, own in enumerate(maps)
        ]
        return torch.cat(padded)


def _at_once(images: Tensor) -> bool:
    """Return whether the networks learn at the same time, each in a thread of its own.

    On a processor that is faster than one network after the other on all cores: the threads of an operation wait for
    each other at its end, those of different networks only at the end of a step. Not where gradients of the images are
    needed, or where something follows the single operations: a compiler, or batch norm of several processes.
    """
    return (
        images.device.type == "cpu"
        and torch.get_num_threads() > 1
        and torch.is_grad_enabled()
        and not images.requires_grad
        and not torch.compiler.is_compiling()
        and not dist.is_initialized()
    )


class _AtOnce(torch.autograd.Function):
    """The maps of several networks. Each network computes in a thread of its own, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, networks: Sequence[nn.Module], parts: Sequence[Tensor], *weights: Tensor) -> Any:
        enabled, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def mapped(network: nn.Module, part: Tensor) -> Tensor:
            with torch.autocast("cpu", precision, enabled):
                return network(part)

        ctx.maps, ctx.weights = _in_threads(mapped, networks, parts), len(weights)
        return tuple(own.detach() for own in ctx.maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        # This adds to the weights' gradients, so autograd itself gets none for them.
        _in_threads(torch.autograd.backward, ctx.maps, gradients)
        return None, None, *[None] * ctx.weights


def _in_threads(work: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    """Return the results of `work` for each set of arguments, computed at the same time."""
    count = len(arguments[0])
    return list(_threads(count, max(1, torch.get_num_threads() // count)).map(work, *arguments))


@cache
def _threads(count: int, each: int) -> ThreadPoolExecutor:
    """Return threads, in each of which torch's operations use `each` threads."""
    return ThreadPoolExecutor(count, "members", torch.set_num_threads, (each,))
