"""One module per augmentation: it draws the random numbers of an epoch and applies them to batches.

A module offers two pure functions:

* `draw(settings, rng, count, size)` returns all random numbers of an epoch as a dict of arrays, one row per sample;
* `apply(images, targets, partner_images, partner_targets, draws)` turns a batch and its rows of the draws into views.

`images` is float [N, C, H, W] in 0..1 after crop and mirror. `targets` is float [N, K] with rows of sum 1. The partner
of a sample is another sample of the same batch. `draw` and `apply` share no state, so a test can pass its own draws.
The settings of a module are a class in `pipeline/params/augments.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Draws = dict[str, np.ndarray]


class View(NamedTuple):
    """A version of a batch that the network sees. The loss of a step is the weighted sum over its views."""

    images: Tensor
    targets: Tensor
    weight: float = 1.0


def column(values: Tensor, like: Tensor) -> Tensor:
    """Return `values`, one per sample [N], in the type of `like` [N, ...] and in a shape that multiplies it."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return share * first + (1 - share) * second, with one share in 0..1 per sample."""
    return torch.lerp(second, first, column(share, first))


def blend(rng: np.random.Generator, count: int, alpha: float, lam: float | None) -> np.ndarray:
    """Return lambda for each of `count` samples: drawn from Beta(alpha, alpha), or `lam` for all samples.

    With a fixed `lam` the draw takes place too and is ignored, so that later draws (squares) stay the same.
    """
    drawn = rng.beta(alpha, alpha, count)
    return drawn if lam is None else np.full(count, lam)
