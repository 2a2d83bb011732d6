"""DCGAN, one for each class.

Radford, Metz & Chintala 2016: networks and initialisation as `_convolutional` has them, Adam with beta1 0.5
("with 0.9 the training oscillates", section 4), the non-saturating loss of Goodfellow et al. 2014. The GAN
augmentation paper trains it with batches of 16 for 80 epochs at a learning rate of 1e-4.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.gan import Adversaries
from pipeline.gan._convolutional import Critic, Decoder
from pipeline.params import Adversarial

CONDITIONAL = False


class Params(Adversarial):
    """Settings of DCGAN."""


def adversaries(params: Params, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and discriminator, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(params.latent, size, channels, params.width),
        Critic(size, channels, params.width, "batch"),
        discriminator_loss,
        non_saturating,
        betas=(0.5, 0.999),
    )


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropies of both kinds' logits, [n] each: real is 1, generated is 0."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def non_saturating(generated: Tensor) -> Tensor:
    """Return the cross-entropy of generated faces' logits that are called real (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-generated).mean()
