"""DCGAN: one convolutional GAN per class, trained with cross-entropy.

Radford, Metz & Chintala 2016. Networks and initialisation are in `parts/convolutional.py`. Adam has a beta1 of 0.5
("with 0.9 the training oscillates", section 4). The generator's loss is the non-saturating one of Goodfellow et al.
2014. The GAN augmentation paper trains it with batches of 16 for 80 epochs at a learning rate of 1e-4.
"""

from __future__ import annotations

from pipeline.methods.gans import GAN
from pipeline.methods.gans.parts.adversarial import LOSSES
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.params.gans import DCGANSettings

CONDITIONAL = False


def build(settings: DCGANSettings, size: int, channels: int, classes: int) -> GAN:
    """Return generator and critic with fresh weights from torch's global random numbers."""
    return GAN(
        Decoder(settings.latent, size, channels, settings.width),
        Critic(size, channels, settings.width, "batch"),
        *LOSSES["cross_entropy"],
        betas=(0.5, 0.999),
    )
