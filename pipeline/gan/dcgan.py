"""DCGAN, one for each class.

Radford, Metz & Chintala 2016: networks and initialisation as `_convolutional` has them, Adam with beta1 0.5
("with 0.9 the training oscillates", section 4), the non-saturating loss of Goodfellow et al. 2014. The GAN
augmentation paper trains it with batches of 16 for 80 epochs at a learning rate of 1e-4.
"""

from __future__ import annotations

from pipeline.gan import Adversaries
from pipeline.gan._convolutional import Critic, Decoder
from pipeline.gan._losses import LOSSES
from pipeline.params import Adversarial

CONDITIONAL = False


class Params(Adversarial):
    """Settings of DCGAN."""


def adversaries(params: Params, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and discriminator, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(params.latent, size, channels, params.width),
        Critic(size, channels, params.width, "batch"),
        *LOSSES["cross_entropy"],
        betas=(0.5, 0.999),
    )
