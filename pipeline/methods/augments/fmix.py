"""FMix: pastes in another face through a random low-frequency mask and mixes the labels by the mask's mean.

Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020, with the decay power 3 and alpha 1 of the
residual convnet paper. Gaussian noise in Fourier space, divided by frequency^decay, gives a grey image. The share
lambda of its pixels, the brightest ones, keeps the face. The other pixels show the partner.

The plan of an epoch stores a seed per sample instead of the noise, which would take hundreds of megabytes for FER+. The
noise depends only on the seed and is computed on the device of the images, so a mask is the same in every batch and on
every device.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.augments import Draws, View, blend, mix
from pipeline.params.augments import FMixSettings


def draw(settings: FMixSettings, rng: np.random.Generator, count: int, size: int) -> Draws:
    """Draw lambda and the seed of the noise per sample.

    Lambda is drawn from Beta(alpha, alpha), or is `lam`; it is 1 where FMix is not applied. Each row also holds the
    settings that shape the mask, so that `apply` needs only its rows.
    """
    applied = rng.random(count) < settings.probability
    return {
        "lam": np.where(applied, blend(rng, count, settings.alpha, settings.lam), 1.0),
        "noise": rng.integers(2**63, size=count),
        "decay": np.full(count, settings.decay),
        "official": np.full(count, settings.mask == "official"),
    }


def apply(
    images: Tensor, targets: Tensor, partner_images: Tensor, partner_targets: Tensor, draws: dict[str, Tensor]
) -> list[View]:
    """Show the partner where the mask is false and mix the targets by the share of kept pixels."""
    mask = masks(draws, *images.shape[-2:])
    mixed = torch.where(mask[:, None], images, partner_images)
    return [View(mixed, mix(targets, partner_targets, mask.double().mean((1, 2))))]


def masks(draws: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the masks [N, H, W] of `draws`; true keeps the face."""
    # Small batches stay in the CPU's cache: 128 masks take 10 ms instead of 12.
    at_once = 32 if draws["noise"].device.type == "cpu" else len(draws["noise"])
    pieces = zip(*(values.split(at_once) for values in draws.values()), strict=True)
    parts = [dict(zip(draws, piece, strict=True)) for piece in pieces]
    return torch.cat([binary(grey(part, height, width), part["lam"]) for part in parts])


def binary(images: Tensor, lam: Tensor) -> Tensor:
    """Return masks [N, H, W]: true for the brightest share `lam` [N] of each image's pixels, to the nearest pixel."""
    values = images.flatten(1)
    pixels = values.shape[1]
    kept = (lam * pixels).round().long()[:, None]
    darkest = _sorted(values).gather(1, (pixels - kept).clamp(max=pixels - 1))
    return ((values >= darkest) & (kept > 0)).reshape(images.shape)


def _sorted(values: Tensor) -> Tensor:
    # Sorting takes most of the time on a CPU: 128 images of 48 pixels take numpy 1 ms and torch 14 ms.
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(1).values


def grey(draws: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the images of the masks, float64 [N, H, W]: noise of `draws` filtered by 1 / frequency^decay.

    In float64 the order of a sum moves no pixel across the threshold.
    """
    kind, decay = draws["official"].long(), draws["decay"].reshape(-1, 1, 1, 1)
    logarithm, weight = _filters(height, width, kind.device)
    scale = logarithm[kind].mul_(-decay).exp_().mul_(weight[kind])
    noise = _normal(draws["noise"], scale[0].numel() // 2).reshape(scale.shape)
    return torch.fft.irfft2(torch.view_as_complex(noise.mul_(scale)), s=(height, width))


@cache
def _filters(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return logarithm of frequencies and weights, each [2, H, W // 2 + 1, 2]: first isotropic, then official."""
    frequency, weight = zip(_isotropic(height, width), _official(height, width), strict=True)
    return torch.stack(frequency).log().to(device), torch.stack(weight).to(device)


def _isotropic(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return frequency and weight of a mask with equal detail in both directions.

    Both are [H, W // 2 + 1, 2], for real and imaginary parts. The inverse transform of half a spectrum mirrors each
    column except the first and, for an even width, the last. These two are their own mirror images and keep only half
    of their energy. The weight restores it.
    """
    y, x = torch.fft.fftfreq(height).double()[:, None], torch.fft.rfftfreq(width).double()
    frequency = torch.hypot(y, x.expand(height, -1)).clamp(min=1 / max(height, width))
    weight = torch.ones_like(frequency)
    weight[:, (x == 0) | (x == 0.5)] = math.sqrt(2)
    return torch.stack([frequency] * 2, -1), torch.stack([weight] * 2, -1)


def _official(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return frequency and weight of the authors' published sampler.

    The sampler's noise has the indices [frequency y, frequency x, part]. It uses rows 0 and 1 as real and imaginary
    parts. The remaining array [frequency x, part] is transformed as if it were [frequency y, frequency x]. Across the
    image only the frequencies 0 and 1 occur, so masks are horizontal bands.
    """
    frequency = torch.ones(height, width // 2 + 1, 2, dtype=torch.float64)
    weight = torch.zeros_like(frequency)
    x = torch.fft.fftfreq(width).double()[: min(width // 2 + 1 + width % 2, height)].abs()
    for row in (0, 1):
        y = row / height
        frequency[: len(x), :, row] = (x**2 + y**2).sqrt().clamp(min=1 / max(height, width))[:, None]
        weight[: len(x), :2, row] = 1
    return frequency, weight


def _normal(seeds: Tensor, count: int) -> Tensor:
    """Return `count` pairs of normal numbers, float64 [N, count, 2], for each seed, int64 [N].

    SplitMix64 (Steele et al. 2014) in wrapping integers, followed by the Box-Muller transform. torch's generators
    differ between devices and take one seed for a whole batch.
    """
    steps = torch.arange(1, count + 1, device=seeds.device)
    z = seeds[:, None] + steps * -7046029254386353131  # 0x9E3779B97F4A7C15
    z ^= _right(z, 30)
    z *= -4658895280553007687  # 0xBF58476D1CE4E5B9
    z ^= _right(z, 27)
    z *= -7723592293110705685  # 0x94D049BB133111EB
    z ^= _right(z, 31)
    radius = ((_right(z, 32).double() + 0.5) / 2**32).log_().mul_(-2).sqrt_()
    angle = (z & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def _right(z: Tensor, bits: int) -> Tensor:
    """Return z shifted right by `bits` as an unsigned number; torch would repeat the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
