"""Gradient penalty of WGAN-GP (Gulrajani et al. 2017, equation 3 and algorithm 1).

It pulls the length of the critic's gradient towards 1 at points between real and generated faces.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, shares: Tensor
) -> Tensor:
    """Return the mean over faces of (length of the critic's gradient - 1) squared, differentiable.

    Args:
        critic: maps faces [n, C, H, W] to scores [n]; each score depends on its own face alone.
        real: faces [n, C, H, W].
        generated: faces of the same shape.
        shares: [n], 0 to 1; share of the real face in each mixture. Each face has a share of its own.
    """
    mixed = torch.lerp(generated, real, shares[:, None, None, None]).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    # One length per face, over all pixels and channels.
    lengths = gradient.flatten(1).norm(2, dim=1)
    return (lengths - 1).square().mean()
