"""Ranger against its papers in float64 and against the library used directly, and its state in a checkpoint."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_optimizer import Lookahead, RAdam, centralize_gradient
from torch import Tensor, nn

from pipeline.methods.optimizers import adam, adamw, ranger, ranger_gc, sgd
from pipeline.training import checkpoint
from tests import toy

# A quadratic f(x) = sum a (x - b)^2 / 2 over a matrix.
STEEP = np.linspace(0.1, 4.0, 12).reshape(3, 4)
LOWEST = np.linspace(-1.0, 2.0, 12).reshape(3, 4) ** 2


class Quadratic(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(3, 4, dtype=dtype))

    def loss(self) -> Tensor:
        steep, lowest = (torch.from_numpy(a).to(self.place) for a in (STEEP, LOWEST))
        return (steep * (self.place - lowest) ** 2).sum() / 2


def descend(
    network: Quadratic, optimizer: torch.optim.Optimizer, steps: int, centred: bool = False
) -> list[np.ndarray]:
    places = []
    for _ in range(steps):
        optimizer.zero_grad()
        network.loss().backward()
        if centred:
            centralize_gradient(network.place.grad)
        optimizer.step()
        places.append(network.place.detach().numpy().copy())
    return places


def papers(
    steps: int, rate: float, beta1: float, beta2: float, decay: float, every: int, share: float, centred: bool
) -> list[np.ndarray]:
    """Run RAdam's algorithm 2 inside Lookahead's algorithm 1, with AdamW's decay and the gradient centred by rows."""
    fast = slow = np.zeros((3, 4))
    mean = square = np.zeros((3, 4))
    longest = 2 / (1 - beta2) - 1
    places = []
    for t in range(1, steps + 1):
        gradient = STEEP * (fast - LOWEST)
        if centred:
            gradient = gradient - gradient.mean(1, keepdims=True)
        fast = fast * (1 - rate * decay)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        corrected = mean / (1 - beta1**t)
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length >= 5:  # the authors' code; 4 in the paper
            rectified = math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            fast = fast - rate * rectified * corrected * math.sqrt(1 - beta2**t) / (np.sqrt(square) + 1e-5)
        else:
            fast = fast - rate * corrected
        if t % every == 0:
            slow = slow + share * (fast - slow)
            fast = slow
        places.append(fast)
    return places


def settings_of(module: ModuleType, **changes: float) -> Any:
    return toy.settings("optimizer", module.__name__.rpartition(".")[2], **changes)


@pytest.mark.parametrize("module", [ranger, ranger_gc])
@pytest.mark.parametrize(("beta1", "beta2", "every"), [(0.95, 0.999, 6), (0.9, 0.98, 5)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_ranger_is_the_papers(
    module: ModuleType, beta1: float, beta2: float, every: int, decay: float
) -> None:
    settings = settings_of(
        module, learning_rate=0.05, beta1=beta1, beta2=beta2, weight_decay=decay, lookahead_steps=every
    )
    network = Quadratic()
    ours = descend(network, module.build(settings, network), 60)
    exact = papers(60, 0.05, beta1, beta2, decay, every, 0.5, module is ranger_gc)
    for mine, theirs in zip(ours, exact, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("module", [ranger, ranger_gc])
def test_ranger_is_the_librarys_lookahead_around_its_radam(module: ModuleType) -> None:
    network, other = Quadratic(), Quadratic()
    ours = descend(network, module.build(settings_of(module, learning_rate=0.05), network), 40)
    inner = RAdam(other.parameters(), lr=0.05, betas=(0.95, 0.999), eps=1e-5, degenerated_to_sgd=True)
    theirs = descend(other, Lookahead(inner, k=6, alpha=0.5), 40, centred=module is ranger_gc)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


class Layers(nn.Module):
    """Three layers, each the quadratic of a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Quadratic() for _ in range(3))

    def layers(self) -> list[list[nn.Parameter]]:
        return [[part.place] for part in self.parts]


@pytest.mark.parametrize(("factor", "decay"), [(1.0, 0.1), (0.65, 0.1), (0.8, 0.0)])
def test_adamw_is_the_papers_with_a_slower_rate_in_each_layer(factor: float, decay: float) -> None:
    settings = settings_of(adamw, learning_rate=0.05, weight_decay=decay, layer_decay=factor)
    network = Layers()
    optimizer = adamw.build(settings, network)
    for _ in range(40):
        optimizer.zero_grad()
        sum(part.loss() for part in network.parts).backward()
        optimizer.step()

    for depth, part in enumerate(reversed(network.parts)):
        rate = 0.05 * factor**depth
        place = mean = square = np.zeros((3, 4))
        for t in range(1, 41):  # Loshchilov & Hutter 2019, algorithm 2
            gradient = STEEP * (place - LOWEST)
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            step = mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
            place = place - rate * (step + decay * place)
        np.testing.assert_allclose(part.place.detach().numpy(), place, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("module", [ranger, ranger_gc])
def test_the_first_steps_go_down(module: ModuleType) -> None:
    network = Quadratic()
    before = network.loss().item()
    descend(network, module.build(settings_of(module, learning_rate=0.001), network), 5)
    assert network.loss().item() < before


@pytest.mark.parametrize("module", [sgd, adam, adamw, ranger, ranger_gc])
@pytest.mark.parametrize("after", [1, 4, 6, 9])
def test_an_optimiser_put_back_goes_on_exactly(module: ModuleType, after: int) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 16, 4))
        return body.to(memory_format=torch.channels_last)

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
        for step in range(first, last):
            torch.manual_seed(step)
            optimizer.zero_grad(set_to_none=True)
            net(torch.randn(6, 3, 6, 6)).square().mean().backward()
            optimizer.step()

    settings = settings_of(module, learning_rate=0.01, weight_decay=0.01)
    whole = network()
    steps(whole, module.build(settings, whole), 0, 14)

    part = network()
    optimizer = module.build(settings, part)
    steps(part, optimizer, 0, after)
    stored = {
        k: v.clone(memory_format=torch.contiguous_format)
        for k, v in checkpoint.optimizer_tensors(optimizer).items()
    }
    resumed = network()
    resumed.load_state_dict(part.state_dict())
    optimizer = module.build(settings, resumed)
    checkpoint.restore_optimizer(optimizer, stored)
    steps(resumed, optimizer, after, 14)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize("module", [sgd, adam, adamw, ranger, ranger_gc])
@pytest.mark.parametrize("decay", ["kernels", "all"])
def test_weight_decay_pulls_kernels_or_all_weights(module: ModuleType, decay: str) -> None:
    # With gradients of 0, only weight decay moves a weight.
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
        parameter.grad = torch.zeros_like(parameter)
    module.build(settings_of(module, learning_rate=0.01, weight_decay=0.1, decay=decay), network).step()
    for name, parameter in network.named_parameters():
        pulled = decay == "all" or name in ("0.weight", "2.weight")
        assert (parameter < 0.5).all() if pulled else (parameter == 0.5).all(), name
