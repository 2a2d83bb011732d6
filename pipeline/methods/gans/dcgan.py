"""DCGAN, one for each class.

Radford, Metz & Chintala 2016: networks and initialisation as `_convolutional` has them, Adam with beta1 0.5
("with 0.9 the training oscillates", section 4), the non-saturating loss of Goodfellow et al. 2014. The GAN
augmentation paper trains it with batches of 16 for 80 epochs at a learning rate of 1e-4.
"""

from __future__ import annotations

from pipeline.methods.gans import Adversaries
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.methods.gans.parts.losses import LOSSES
from pipeline.params.gans import DCGANSettings

CONDITIONAL = False


def adversaries(settings: DCGANSettings, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and discriminator, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(settings.latent, size, channels, settings.width),
        Critic(size, channels, settings.width, "batch"),
        *LOSSES["cross_entropy"],
        betas=(0.5, 0.999),
    )
