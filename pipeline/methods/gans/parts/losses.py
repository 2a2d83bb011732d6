"""What a critic and a generator minimise, from the scores of real and of generated faces, float [n] each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropies of both kinds' logits: real is 1, generated is 0 (Goodfellow et al. 2014)."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def non_saturating(generated: Tensor) -> Tensor:
    """Return the cross-entropy of generated faces' logits that are called real (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-generated).mean()


def critic_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return minus the estimate of Wasserstein's distance (Gulrajani et al. 2017, equation 3, without the penalty)."""
    return generated.mean() - real.mean()


def generator_loss(generated: Tensor) -> Tensor:
    """Return minus the mean score of generated faces."""
    return -generated.mean()


# The critic's loss and the generator's, by name.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "cross_entropy": (discriminator_loss, non_saturating),
    "wasserstein": (critic_loss, generator_loss),
}
