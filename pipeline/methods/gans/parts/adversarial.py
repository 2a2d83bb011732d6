"""Losses of critics and generators, from the scores of real and of generated faces, float [n] each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def cross_entropy_critic(real: Tensor, generated: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of real faces (target 1) and generated ones (0), Goodfellow et al. 2014."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def non_saturating(generated: Tensor) -> Tensor:
    """Return the cross-entropy of generated faces with the target 1 of real ones (Goodfellow et al., section 3)."""
    return F.softplus(-generated).mean()


def wasserstein_critic(real: Tensor, generated: Tensor) -> Tensor:
    """Return minus the estimated Wasserstein distance (Gulrajani et al. 2017, equation 3, without the penalty)."""
    return generated.mean() - real.mean()


def wasserstein_generator(generated: Tensor) -> Tensor:
    """Return minus the mean score of generated faces."""
    return -generated.mean()


# Loss of the critic and loss of the generator, by name.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "cross_entropy": (cross_entropy_critic, non_saturating),
    "wasserstein": (wasserstein_critic, wasserstein_generator),
}
