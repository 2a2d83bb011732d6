"""Augmentations against torchvision's, closed forms and the papers' figures."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from pipeline.methods.models.parts import torchvision  # noqa: F401 - makes torchvision importable beside a CPU torch
from pipeline.params.methods import choices
from tests import toy

METHODS = choices("augment")
COUNT, CLASSES, SIZE = 16, 8, 44


def method(name: str, **settings: Any) -> tuple[Any, Any]:
    module = importlib.import_module(f"pipeline.methods.augments.{name}")
    return module, toy.settings("augment", name, **settings)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(COUNT, 1, SIZE, SIZE, generator=generator)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    return images, torch.nn.functional.one_hot(labels, CLASSES).float()


def tensors(draws: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(values) for key, values in draws.items()}


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


@pytest.mark.parametrize("settings", [("cutmix", {}), ("fmix", {}), ("fmix", {"mask": "official"})])
@given(
    seed=st.integers(0, 2**31), size=st.integers(16, 112), alpha=st.floats(0.1, 5), channels=st.integers(1, 3)
)
def test_labels_share_the_face_as_its_pixels_do(
    settings: tuple[str, dict[str, Any]], seed: int, size: int, alpha: float, channels: int
) -> None:
    module, chosen = method(settings[0], probability=0.8, alpha=alpha, **settings[1])
    draws = tensors(module.draw(chosen, np.random.default_rng(seed), COUNT, size))
    images = torch.zeros(COUNT, channels, size, size)
    targets = torch.tensor([[1.0, 0.0]]).repeat(COUNT, 1)
    [view] = module.apply(images, targets, images + 1, targets.flip(1), draws)
    assert ((view.images == 0) | (view.images == 1)).all()
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
    module = importlib.import_module(f"pipeline.methods.augments.{name}")
    draws = module.draw(toy.settings("augment", name), np.random.default_rng(seed), COUNT, size)
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


@pytest.mark.parametrize("name", ["mixup", "cutmix", "mixcut", "mixaugment", "fmix"])
def test_a_fixed_lambda_takes_the_place_of_the_drawn_one_and_of_nothing_else(name: str) -> None:
    module, drawn = method(name)
    _, fixed = method(name, lam=0.4)
    before, after = (module.draw(p, np.random.default_rng(3), 1000, SIZE) for p in (drawn, fixed))
    if name == "cutmix":
        inner = (after["y1"] > 0) & (after["y2"] < SIZE) & (after["y1"] < after["y2"])
        side = (after["y2"] - after["y1"])[inner]
        assert side == pytest.approx(np.sqrt(0.6) * SIZE, abs=1)
        return
    applied = before["lam"] < 1
    assert (after["lam"][applied] == 0.4).all()
    assert (after["lam"][~applied] == 1).all()
    assert all(np.array_equal(after[key], before[key]) for key in before if key != "lam")


# The areas and the sides that they correspond to are those of the MixCut paper, section 3.3.2.
@pytest.mark.parametrize("name", ["mixcut", "cutout"])
@pytest.mark.parametrize(
    ("area", "edge"), [(1 / 4, 1 / 2), (9 / 64, 3 / 8), (1 / 16, 1 / 4), (1 / 64, 1 / 8)]
)
def test_a_fixed_area_removes_squares_of_the_papers_sides(name: str, area: float, edge: float) -> None:
    module, settings = method(name, area=area, probability=1.0)
    draws = module.draw(settings, np.random.default_rng(0), 5000, SIZE)
    for axis in "yx":
        low, high = draws[f"{axis}1"], draws[f"{axis}2"]
        inner = (low > 0) & (high < SIZE)
        assert inner.mean() == pytest.approx(1 - edge, abs=0.05), "centres are uniform, the rest is clipped"
        assert (high - low)[inner] == pytest.approx(edge * SIZE, abs=1)
        assert (high - low).max() <= edge * SIZE + 1


def test_mixcut_by_the_printed_algorithm_removes_a_pixel_or_none() -> None:
    # Lines 8 to 16 of Algorithm 1, as printed, with the same centres and etas from another source of numbers.
    rng = np.random.default_rng(1)
    side = np.sqrt(1 - rng.random(200_000))
    lengths = []
    for _ in range(2):
        centre = rng.uniform(0, SIZE, side.size)
        low, high = np.maximum(centre - side / 2, 0), np.minimum(centre + side / 2, SIZE)
        lengths.append(np.round(high) - np.round(low))
    printed = lengths[0] * lengths[1]

    module, settings = method("mixcut", probability=1.0, square="algorithm")
    draws = module.draw(settings, np.random.default_rng(0), 200_000, SIZE)
    removed = (draws["y2"] - draws["y1"]) * (draws["x2"] - draws["x1"])
    assert set(removed) == set(printed) == {0, 1}
    assert removed.mean() == pytest.approx(printed.mean(), abs=0.005)


# ------------------------------------------------------------------------------------------------ FMix

PUBLISHED = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "augment.py"))


def fmix_grey(count: int, height: int, width: int, seed: int = 0, **settings: Any) -> np.ndarray:
    module, chosen = method("fmix", **settings)
    draws = tensors(module.draw(chosen, np.random.default_rng(seed), count, height))
    return module.grey(draws, height, width).numpy()


def energy(images: np.ndarray) -> np.ndarray:
    """Return the mean energy of the images at each frequency (down, across), without their mean."""
    return (np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2).mean(0)


def cycles(size: int) -> np.ndarray:
    return np.abs(np.fft.fftfreq(size)) * size


@pytest.mark.parametrize("size", [44, 48, 33])
def test_isotropic_masks_come_from_as_much_detail_down_as_across(size: int) -> None:
    spectrum = energy(fmix_grey(2000, size, size))
    for k in range(1, 6):
        assert 0.7 < spectrum[0, k] / spectrum[k, 0] < 1.4, f"frequency {k}"
    down, across = np.meshgrid(cycles(size), cycles(size), indexing="ij")
    assert 0.7 < (spectrum * across**2).sum() / (spectrum * down**2).sum() < 1.4
    # 1 / f^3 in amplitude is 1 / f^6 in energy, in every direction.
    radius = np.hypot(down, across)
    chosen = (radius >= 1) & (radius <= size // 3)
    slope = np.polyfit(np.log(radius[chosen]), np.log(spectrum[chosen]), 1)[0]
    assert slope == pytest.approx(-6, abs=0.05)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 17), (12, 20)])
def test_without_decay_the_noise_is_white_and_normal(height: int, width: int) -> None:
    images = fmix_grey(6000, height, width, decay=1e-9)
    spectrum = energy(images)
    spectrum[0, 0] = spectrum.mean()
    assert spectrum / spectrum.mean() == pytest.approx(np.ones((height, width)), abs=0.15)
    some = images[:, 3, 5]
    assert kstest(some / images.std(), "norm").pvalue > 0.01


def test_official_masks_have_the_spectrum_of_the_published_sampler() -> None:
    size = 48
    # The published sampler scales each image to 0..1.
    images = fmix_grey(3000, size, size, mask="official")
    images -= images.min((1, 2), keepdims=True)
    ours = energy(images / images.max((1, 2), keepdims=True))
    np.random.seed(0)  # noqa: NPY002 - the published sampler draws from numpy's global generator
    theirs = energy(np.stack([PUBLISHED["published_grey"](size, 3.0) for _ in range(3000)]))
    for spectrum in (ours, theirs):
        assert spectrum[:, cycles(size) > 1].sum() / spectrum.sum() < 1e-30, "no detail across"
    for down in (0, 1, 2, 3, 4):
        for across in (0, 1):
            if down or across:
                expected = pytest.approx(theirs[down, across], rel=0.15)
                assert ours[down, across] == expected, (down, across)


@pytest.mark.parametrize("lam", [0.0, 0.001, 0.3, 0.9999, 1.0])
def test_the_brightest_share_of_the_image_keeps_the_face(lam: float) -> None:
    module, settings = method("fmix", lam=lam)
    draws = tensors(module.draw(settings, np.random.default_rng(0), COUNT, SIZE))
    images = module.grey(draws, SIZE, SIZE)
    masks = module.binary(images, draws["lam"])
    for image, mask in zip(images.numpy(), masks.numpy(), strict=True):
        assert mask.sum() == np.rint(lam * SIZE**2)
        assert image[mask].min(initial=np.inf) > image[~mask].max(initial=-np.inf)


def test_the_same_seed_gives_the_same_masks_whatever_else_is_in_the_batch() -> None:
    module, settings = method("fmix")
    first, again, other = (
        tensors(module.draw(settings, np.random.default_rng(seed), 100, SIZE)) for seed in (0, 0, 1)
    )

    whole = module.masks(first, SIZE, SIZE)
    assert torch.equal(whole, module.masks(again, SIZE, SIZE))
    assert not torch.equal(whole, module.masks(other, SIZE, SIZE))
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:5]
    some = {key: values[order] for key, values in first.items()}
    assert torch.equal(module.masks(some, SIZE, SIZE), whole[order])
    # Neighbouring seeds give unrelated noise.
    consecutive = {key: values[:1].repeat(200) for key, values in first.items()}
    consecutive["noise"] = torch.arange(200) - 100
    consecutive["decay"] = torch.full((200,), 1e-9, dtype=torch.float64)
    correlation = np.corrcoef(module.grey(consecutive, SIZE, SIZE).flatten(1)) - np.eye(200)
    assert np.abs(correlation).max() < 6 / SIZE


def test_an_epoch_of_fmix_is_a_few_numbers_for_each_face() -> None:
    module, settings = method("fmix")
    draws = module.draw(settings, np.random.default_rng(0), 1000, 112)
    assert sum(values.nbytes for values in draws.values()) <= 32 * 1000
