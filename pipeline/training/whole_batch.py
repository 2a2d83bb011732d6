"""Batch norm and dropout over a batch that several processes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pipeline.training.processes import Processes


class WholeBatch(TorchFunctionMode):
    """A context in which batch norm uses statistics of the whole batch, and dropout draws for the whole batch.

    If all processes have the same generator state, they compute together what a single process would compute, up to
    rounding. The context replaces the functions that layers call, so it covers the layers of any library, on CPU and
    GPU.

    Args:
        processes: the processes that share the batch.
        count: samples in the whole batch.
    """

    def __init__(self, processes: Processes, count: int) -> None:
        super().__init__()
        self.processes, self.count = processes, count

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replace the three functions that depend on all samples of a batch; call any other unchanged."""
        special: dict[Any, Callable[..., Any]] = {
            F.batch_norm: self._batch_norm,
            F.dropout: self._dropout,
            Tensor.bernoulli_: self._bernoulli,  # stochastic depth
        }
        return special.get(function, function)(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        maps: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(maps, running_mean, running_var, weight, bias, False, momentum, eps)
        # The variance comes from the squared deviations, because the mean of the squares minus the square of the mean
        # would lose digits to cancellation.
        others, shape = (0, *range(2, maps.ndim)), (1, -1) + (1,) * (maps.ndim - 2)
        wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
        number = wide.numel() // wide.shape[1] // len(maps) * self.count
        mean = _Sum.apply(wide.sum(others)) / number
        wide = wide - mean.view(shape)
        var = _Sum.apply(wide.square().sum(others)) / number
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(var * number / (number - 1), momentum)
        wide = wide * torch.rsqrt(var + eps).view(shape)
        if weight is not None and bias is not None:
            wide = wide * weight.view(shape) + bias.view(shape)
        return wide.to(maps.dtype)

    def _dropout(
        self, features: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training:
            return features
        return features * F.dropout(self._whole(features).fill_(1), p)[self.processes.part(self.count)]

    def _bernoulli(self, mask: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
        rows = self.processes.part(self.count)
        if len(mask) != rows.stop - rows.start:  # one mask for all samples: each process draws the same
            return mask.bernoulli_(p, generator=generator)
        return mask.copy_(self._whole(mask).bernoulli_(p, generator=generator)[rows])

    def _whole(self, part: Tensor) -> Tensor:
        return part.new_empty(self.count, *part.shape[1:])


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        summed = part.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed
