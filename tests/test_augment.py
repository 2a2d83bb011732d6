"""Augmentations against torchvision's, closed forms and the papers' figures."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.networks import _torchvision  # noqa: F401 - makes torchvision importable beside a CPU torch
from pipeline.params import choices

METHODS = choices("augment")
COUNT, CLASSES, SIZE = 16, 8, 44


def method(name: str, **settings: Any) -> tuple[Any, Any]:
    module = importlib.import_module(f"pipeline.augment.{name}")
    return module, module.Params(**settings)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(COUNT, 1, SIZE, SIZE, generator=generator)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    return images, torch.nn.functional.one_hot(labels, CLASSES).float()


def applied(name: str, draws: dict[str, np.ndarray], partner: Tensor, **settings: Any) -> list[Any]:
    module, _ = method(name, **settings)
    images, targets = batch()
    tensors = {key: torch.as_tensor(value) for key, value in draws.items()}
    return module.apply(images, targets, images[partner], targets[partner], tensors)


ROLLED = torch.arange(COUNT).roll(1)


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.73, 1.0])
def test_mixup_equals_torchvision_given_the_same_lambda_and_partner(lam: float) -> None:
    from torchvision.transforms.v2 import MixUp

    images, targets = batch()
    params = {"lam": lam, "labels": targets, "batch_size": COUNT}
    [view] = applied("mixup", {"lam": np.full(COUNT, lam)}, ROLLED)
    torch.testing.assert_close(view.images, MixUp().transform(images, params), rtol=0, atol=1e-6)
    torch.testing.assert_close(view.targets, MixUp().transform(targets, params), rtol=0, atol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, 44, 44), (3, 10, 20, 44), (7, 7, 7, 7), (0, 5, 44, 6)])
def test_cutmix_equals_torchvision_given_the_same_box_and_partner(box: tuple[int, int, int, int]) -> None:
    from torchvision.transforms.v2 import CutMix

    images, targets = batch()
    x1, y1, x2, y2 = box
    lam = 1 - (x2 - x1) * (y2 - y1) / SIZE**2
    params = {"box": box, "lam_adjusted": lam, "labels": targets, "batch_size": COUNT}
    draws = {k: np.full(COUNT, v) for k, v in {"x1": x1, "y1": y1, "x2": x2, "y2": y2}.items()}
    [view] = applied("cutmix", draws, ROLLED)
    torch.testing.assert_close(view.images, CutMix().transform(images, params), rtol=0, atol=0)
    torch.testing.assert_close(view.targets, CutMix().transform(targets, params), rtol=0, atol=1e-6)


def test_cutmix_labels_share_the_face_as_its_pixels_do() -> None:
    module, settings = method("cutmix", probability=1.0)
    draws = module.draw(settings, np.random.default_rng(0), COUNT, SIZE)
    images = torch.zeros(COUNT, 1, SIZE, SIZE)
    targets = torch.tensor([[1.0, 0.0]]).repeat(COUNT, 1)
    tensors = {k: torch.from_numpy(v) for k, v in draws.items()}
    [view] = module.apply(images, targets, images + 1, targets.flip(1), tensors)
    torch.testing.assert_close(view.images.mean((1, 2, 3)), view.targets[:, 1], rtol=0, atol=1e-6)


def test_mean_lambda_of_cutmix_at_48_pixels_is_the_one_measured_after_clipping() -> None:
    module, settings = method("cutmix", probability=1.0, alpha=1.0)
    draws = module.draw(settings, np.random.default_rng(0), 100_000, 48)
    area = (draws["y2"] - draws["y1"]) * (draws["x2"] - draws["x1"]) / 48**2
    assert 1 - area.mean() == pytest.approx(0.685, abs=0.01)


def test_mixcut_is_equation_1_and_2() -> None:
    draws = {
        "lam": np.linspace(0, 1, COUNT),
        "y1": np.full(COUNT, 5),
        "y2": np.full(COUNT, 21),
        "x1": np.full(COUNT, 0),
        "x2": np.full(COUNT, 11),
    }
    [view] = applied("mixcut", draws, ROLLED)
    images, targets = (t.double().numpy() for t in batch())
    mask = np.ones((SIZE, SIZE))
    mask[5:21, 0:11] = 0
    lam = draws["lam"]
    expected = mask * (
        lam[:, None, None, None] * images + (1 - lam)[:, None, None, None] * np.roll(images, 1, 0)
    )
    np.testing.assert_allclose(view.images, expected, atol=1e-6)
    np.testing.assert_allclose(
        view.targets, lam[:, None] * targets + (1 - lam)[:, None] * np.roll(targets, 1, 0), atol=1e-6
    )


def test_mixcut_removes_half_of_the_face_before_clipping() -> None:
    # 1 - eta with eta ~ Beta(1, 1) has mean 1/2; far from the border nothing is clipped.
    module, settings = method("mixcut", probability=1.0)
    draws = module.draw(settings, np.random.default_rng(0), 200_000, 1000)
    height, width = draws["y2"] - draws["y1"], draws["x2"] - draws["x1"]
    free = (draws["y1"] > 0) & (draws["y2"] < 1000) & (draws["x1"] > 0) & (draws["x2"] < 1000)
    assert (np.abs(height - width)[free] <= 1).all(), "a square"
    assert draws["lam"].mean() == pytest.approx(0.5, abs=0.01)


def test_cutout_removes_a_quarter_and_keeps_the_label() -> None:
    module, settings = method("cutout", area=0.25, probability=1.0)
    draws = module.draw(settings, np.random.default_rng(0), 10_000, SIZE)
    side = draws["y2"] - draws["y1"]
    inner = (draws["y1"] > 0) & (draws["y2"] < SIZE)
    assert side[inner] == pytest.approx(SIZE / 2, abs=1)
    images, targets = batch()
    small = {k: torch.from_numpy(v[:COUNT]) for k, v in draws.items()}
    [view] = module.apply(images, targets, images, targets, small)
    assert torch.equal(view.targets, targets)
    for i in range(COUNT):
        box = images[i, :, draws["y1"][i] : draws["y2"][i], draws["x1"][i] : draws["x2"][i]]
        assert (view.images[i] == 0).sum() == box.numel()


def test_mixaugment_is_the_sum_of_three_cross_entropies() -> None:
    # Equation 3 of the paper, with the partners a permutation of the batch.
    generator = torch.Generator().manual_seed(1)
    partner = torch.randperm(COUNT, generator=generator)
    lam = np.random.default_rng(0).beta(0.2, 0.2, COUNT)
    views = applied("mixaugment", {"lam": lam}, partner)
    weights = torch.randn(SIZE * SIZE, CLASSES, generator=generator)

    def cross_entropy(images: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(images.flatten(1) @ weights, targets)

    ours = sum(v.weight * cross_entropy(v.images, v.targets) for v in views)
    images, targets = batch()
    share = torch.from_numpy(lam).float()[:, None]
    mixed_images = share[..., None, None] * images + (1 - share[..., None, None]) * images[partner]
    mixed_targets = share * targets + (1 - share) * targets[partner]
    paper = (
        cross_entropy(mixed_images, mixed_targets)
        + cross_entropy(images, targets)
        + cross_entropy(images[partner], targets[partner])
    )
    torch.testing.assert_close(ours, paper)


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**31), size=st.integers(16, 112))
def test_targets_stay_shares_and_pixels_stay_in_range(name: str, seed: int, size: int) -> None:
    module = importlib.import_module(f"pipeline.augment.{name}")
    draws = module.draw(module.Params(), np.random.default_rng(seed), COUNT, size)
    assert all(len(values) == COUNT for values in draws.values())
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(COUNT, 3, size, size, generator=generator)
    targets = torch.rand(COUNT, CLASSES, generator=generator).softmax(1)
    partner = torch.randperm(COUNT, generator=generator)
    tensors = {k: torch.from_numpy(v) for k, v in draws.items()}
    for view in module.apply(images, targets, images[partner], targets[partner], tensors):
        assert view.images.shape == images.shape
        assert view.images.dtype == view.targets.dtype == torch.float32
        assert view.images.min() >= 0
        assert view.images.max() <= 1
        torch.testing.assert_close(view.targets.sum(1), torch.ones(COUNT))


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("none", "mixaugment")])
def test_probability_zero_leaves_everything_alone(name: str) -> None:
    module, settings = method(name, probability=0.0)
    draws = module.draw(settings, np.random.default_rng(0), COUNT, SIZE)
    [view] = applied(name, draws, ROLLED)
    images, targets = batch()
    assert torch.equal(view.images, images)
    assert torch.equal(view.targets, targets)
