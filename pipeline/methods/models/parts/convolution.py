"""A convolution that computes its weight gradient as one matrix product, for small maps on the CPU in bfloat16.

In the last stages of a network on small faces (512 channels, 3 x 3 positions, batches of 64) the library's weight
gradient takes 19 ms per layer; the product of gathered patches takes 2 ms. For large maps the library is faster.
benchmarks/README.md has the figures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

# The matrix product is faster up to this number of output positions.
SMALL_MAP = 36


class Convolution(nn.Conv2d):
    """`nn.Conv2d` with the same parameters and values."""

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, D, H', W']."""
        if not self._by_product(images):
            return super().forward(images)
        maps = _Product.apply(images.bfloat16(), self.weight.bfloat16(), self.stride, self.padding)
        return maps if self.bias is None else maps + self.bias.bfloat16()[:, None, None]

    def _by_product(self, images: Tensor) -> bool:
        bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if images.device.type != "cpu" or not bfloat16 or not torch.is_grad_enabled() or self.groups != 1:
            return False
        positions = (images.shape[-2] // self.stride[0]) * (images.shape[-1] // self.stride[1])
        return positions <= SMALL_MAP and self.dilation == (1, 1) and not isinstance(self.padding, str)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_images = None
        if ctx.needs_input_grad[0]:
            to_images = conv2d_input(images.shape, weight, gradient, ctx.stride, ctx.padding)
        return to_images, _weight_gradient(images, weight, gradient, ctx.stride, ctx.padding), None, None


def _weight_gradient(
    images: Tensor, weight: Tensor, gradient: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """Return gradient^T x patches: for each kernel position and channel, the sum over samples and positions."""
    out, channels, rows, columns = weight.shape
    height, width = gradient.shape[-2:]
    padded = F.pad(images, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1).contiguous()
    # The columns of a row follow one another in memory, so each row of a patch is copied in one piece.
    image, row, column, _ = padded.stride()
    shape = (len(images), height, width, rows, columns * channels)
    patches = (
        padded.as_strided(shape, (image, row * stride[0], column * stride[1], row, 1))
        .flatten(3)
        .flatten(0, 2)
    )
    product = gradient.permute(0, 2, 3, 1).reshape(-1, out).t() @ patches
    return product.view(out, rows, columns, channels).permute(0, 3, 1, 2)
