"""One module per augmentation method: what it draws for an epoch and the pure function that applies it.

A module's settings are a class in `pipeline/params/augments.py`. It offers

* `draw(settings, rng, count, size)`: all random numbers of an epoch, one row per sample, as a dict of arrays;
* `apply(images, targets, partner_images, partner_targets, draws)`: a batch and its slice of the draws to views.

`images` is float [N, C, H, W] in 0..1 after crop and mirror, `targets` float [N, K] with rows of sum 1; a
partner is another sample of the same batch. `draw` and `apply` share no state, so a test hands in its own draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Draws = dict[str, np.ndarray]


class View(NamedTuple):
    """What the network sees of a batch; the loss of a step is the weighted sum over its views."""

    images: Tensor
    targets: Tensor
    weight: float = 1.0


def column(values: Tensor, like: Tensor) -> Tensor:
    """Return one value per sample, [N], shaped to multiply `like`, [N, ...], in its type."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return share * first + (1 - share) * second, with one share in 0..1 per sample."""
    return torch.lerp(second, first, column(share, first))


def blend(rng: np.random.Generator, count: int, alpha: float, lam: float | None) -> np.ndarray:
    """Return lambda for each of `count` samples: drawn from Beta(alpha, alpha), or `lam` for all.

    A fixed lambda is drawn too and thrown away, so that whatever is drawn next (squares) stays the same.
    """
    drawn = rng.beta(alpha, alpha, count)
    return drawn if lam is None else np.full(count, lam)
