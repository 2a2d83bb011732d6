"""The gradient penalty of WGAN-GP: the critic's gradient shall have length 1 between real and generated faces.

Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3 and algorithm 1.
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
        critic: maps faces [n, C, H, W] to scores [n], each of which depends on its own face alone.
        real, generated: faces [n, C, H, W].
        shares: of the real face in each mixed one, [n], 0..1: one for every face, not one for the batch.
    """
    mixed = torch.lerp(generated, real, shares[:, None, None, None]).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    # Over all pixels and channels of a face at once.
    lengths = gradient.flatten(1).norm(2, dim=1)
    return (lengths - 1).square().mean()
