"""CGAN, one for all classes: DCGAN told which class to make, with a gradient penalty.

The GAN augmentation paper describes it by these words and trains it with batches of 64 at a learning rate of
1e-4. How the critic is told the class: Mirza & Osindero 2014 (`concatenation`), Miyato & Koyama 2018
(`projection`). A penalty wants a critic without batch norm, and such a one lets cross-entropy (Fedus et al. 2018)
make the same face over and over, as that paper saw; Wasserstein's losses do not. The GAN learns from all classes;
each is drawn equally often, or a rare one would hardly ever be.
"""

from __future__ import annotations

from pipeline.methods.gans import Adversaries
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.methods.gans.parts.losses import LOSSES
from pipeline.params.gans import CGANSettings

CONDITIONAL = True


def adversaries(settings: CGANSettings, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and discriminator, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(settings.latent, size, channels, settings.width, classes),
        Critic(size, channels, settings.width, "layer", classes, settings.condition),
        *LOSSES[settings.loss],
        betas=(0.5, 0.999) if settings.loss == "cross_entropy" else (0.0, 0.9),
        critic_steps=settings.critic_steps,
        penalty=settings.penalty,
        mismatched=settings.mismatched,
    )
