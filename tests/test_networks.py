"""Networks: the fast weight gradient is torch's, and the families have their published shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.networks._convolution import Convolution


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_those_of_torch(stride: int, kernel: int, size: int, bias: bool) -> None:
    torch.manual_seed(0)
    ours = Convolution(32, 48, kernel, stride, kernel // 2, bias=bias)
    theirs = nn.Conv2d(32, 48, kernel, stride, kernel // 2, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(8, 32, size * stride, size * stride).contiguous(memory_format=torch.channels_last)
    for module, precision in ((ours, torch.bfloat16), (theirs.double(), None)):
        given = images.clone().requires_grad_()
        if precision:
            with torch.autocast("cpu", precision):
                maps = module(given)
        else:
            given = images.double().requires_grad_()
            maps = module(given)
        # A gradient that differs from place to place, exact in bfloat16.
        maps.backward((torch.arange(maps.numel()).reshape(maps.shape) % 7 - 3).to(maps.dtype))
        module.seen = [given.grad, *(p.grad for p in module.parameters())]
    assert ours._by_product(images) is False, "outside autocast the library's own is used"
    for mine, exact in zip(ours.seen, theirs.seen, strict=True):
        assert (mine.double() - exact).norm() / exact.norm() < 1e-2


def test_float32_and_scoring_take_the_librarys_path() -> None:
    module = Convolution(8, 8, 3, padding=1)
    images = torch.randn(2, 8, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert module._by_product(images)
        assert not module._by_product(torch.randn(2, 8, 20, 20)), "large maps"
        with torch.no_grad():
            assert not module._by_product(images)
