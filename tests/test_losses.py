"""Losses against float64 closed forms."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

COUNTS = torch.tensor([10309, 7528, 3562, 3515, 2467, 191, 652, 165])


def random_case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (32, 8)), rng.dirichlet(np.ones(8), 32)


def loss(
    name: str, logits: np.ndarray, targets: np.ndarray, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    module = importlib.import_module(f"pipeline.losses.{name}")
    function = module.build(module.Params(), COUNTS)
    return function(torch.tensor(logits, dtype=dtype), torch.zeros(32, 4), torch.tensor(targets))


def closed_form(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-(weights * targets * log_softmax).sum(1).mean())


def test_softmax_is_cross_entropy() -> None:
    logits, targets = random_case()
    assert loss("softmax", logits, targets).item() == pytest.approx(
        closed_form(logits, targets, np.ones(8)), rel=1e-6
    )


def test_weighted_softmax_weighs_by_rarity_and_divides_by_the_number_of_samples() -> None:
    logits, targets = random_case()
    weights = 165 / COUNTS.numpy()
    assert loss("weighted_softmax", logits, targets).item() == pytest.approx(
        closed_form(logits, targets, weights), rel=1e-6
    )


def test_weights_are_the_papers() -> None:
    from pipeline.losses.weighted_softmax import class_weights

    weights = class_weights(torch.tensor([100, 50, 0, 200]))
    assert weights.tolist() == pytest.approx([0.5, 1.0, 0.0, 0.25])


@pytest.mark.parametrize("name", ["softmax", "weighted_softmax"])
def test_losses_are_computed_in_float32(name: str) -> None:
    logits, targets = random_case()
    value = loss(name, logits, targets, torch.bfloat16)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(name, logits, targets).item(), rel=1e-2)
