"""FMix: another face is pasted in through a random mask of low frequencies; labels mix by the mask's mean.

Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020, with the decay power 3 and alpha 1 of the
residual-convnet paper. Gaussian noise in Fourier space, divided by frequency^decay, becomes a grey picture; its
brightest lambda of the pixels keep the face, the rest shows the partner.

An epoch's plan holds a seed per sample and not the noise, which would be hundreds of megabytes for FER+. The noise
is a function of the seed alone, computed where the images are: a mask is the same in any batch and on any device.
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
    """Draw lambda ~ Beta(alpha, alpha) and the noise's seed per sample; lambda is 1 where FMix is not applied.

    The settings that shape a mask are in every row, so that `apply` needs nothing but its slice of the draws.
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
    """Show the partner where the mask is false and mix the targets by the share of pixels that are kept."""
    mask = masks(draws, *images.shape[-2:])
    mixed = torch.where(mask[:, None], images, partner_images)
    return [View(mixed, mix(targets, partner_targets, mask.double().mean((1, 2))))]


def masks(draws: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the masks [N, H, W] of `draws`, true where the face is kept."""
    # Without a GPU a few at a time, which stay in the processor's cache: 128 masks in 10 ms instead of 12.
    at_once = 32 if draws["noise"].device.type == "cpu" else len(draws["noise"])
    pieces = zip(*(values.split(at_once) for values in draws.values()), strict=True)
    parts = [dict(zip(draws, piece, strict=True)) for piece in pieces]
    return torch.cat([binary(grey(part, height, width), part["lam"]) for part in parts])


def binary(pictures: Tensor, lam: Tensor) -> Tensor:
    """Return masks [N, H, W], true for the brightest `lam` [N] of each picture's pixels, to the nearest pixel."""
    values = pictures.flatten(1)
    pixels = values.shape[1]
    kept = (lam * pixels).round().long()[:, None]
    darkest = _sorted(values).gather(1, (pixels - kept).clamp(max=pixels - 1))
    return ((values >= darkest) & (kept > 0)).reshape(pictures.shape)


def _sorted(values: Tensor) -> Tensor:
    # Without a GPU this is most of the work, and numpy sorts 128 pictures of 48 pixels in 1 ms, torch in 14 ms.
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(1).values


def grey(draws: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the pictures [N, H, W], float64, that become masks: noise of `draws` filtered by 1 / frequency^decay.

    In float64, so that no pixel next to the threshold changes sides with the order of a sum.
    """
    kind, decay = draws["official"].long(), draws["decay"].reshape(-1, 1, 1, 1)
    logarithm, weight = _filters(height, width, kind.device)
    scale = logarithm[kind].mul_(-decay).exp_().mul_(weight[kind])
    noise = _normal(draws["noise"], scale[0].numel() // 2).reshape(scale.shape)
    return torch.fft.irfft2(torch.view_as_complex(noise.mul_(scale)), s=(height, width))


@cache
def _filters(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the frequencies and the weights, each [2, H, W // 2 + 1, 2]: isotropic, official."""
    frequency, weight = zip(_isotropic(height, width), _official(height, width), strict=True)
    return torch.stack(frequency).log().to(device), torch.stack(weight).to(device)


def _isotropic(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return frequency and weight, each [H, W // 2 + 1, 2] for real and imaginary parts, of equal detail both ways.

    The inverse transform of half a spectrum mirrors all columns but the first and, of an even width, the last,
    which are their own mirror images: they keep half of their energy. The weight gives it back.
    """
    y, x = torch.fft.fftfreq(height).double()[:, None], torch.fft.rfftfreq(width).double()
    frequency = torch.hypot(y, x.expand(height, -1)).clamp(min=1 / max(height, width))
    weight = torch.ones_like(frequency)
    weight[:, (x == 0) | (x == 0.5)] = math.sqrt(2)
    return torch.stack([frequency] * 2, -1), torch.stack([weight] * 2, -1)


def _official(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return frequency and weight of the sampler that the authors published.

    It takes rows 0 and 1 of its noise, indexed [frequency y, frequency x, part], for real and imaginary parts.
    What is left, [frequency x, part], is transformed as [frequency y, frequency x]: across the picture there are
    the frequencies 0 and 1 and nothing above, so that masks are bands that lie one upon another.
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
    """Return `count` pairs of normal numbers, float64 [N, count, 2], for each seed [N], int64.

    SplitMix64 (Steele et al. 2014) in integers that wrap, then Box and Muller's transform: torch's own generators
    differ between devices and know one seed for a whole batch.
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
    """Return z shifted right by `bits` as an unsigned number is; torch repeats the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
