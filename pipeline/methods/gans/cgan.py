"""CGAN: one conditional GAN for all classes, a DCGAN that receives the class and has a gradient penalty.

The GAN augmentation paper describes it in these words and trains it with batches of 64 and a learning rate of 1e-4. The
critic receives the class as a channel (`concatenation`, Mirza & Osindero 2014) or through an inner product
(`projection`, Miyato & Koyama 2018).

The gradient penalty rules out batch norm in the critic. Without batch norm, the cross-entropy loss (Fedus et al. 2018)
leads to generators that repeat one face, as the paper also saw. Wasserstein's losses do not. The GAN learns from all
classes and sees each class equally often, so that rare classes occur in training.
"""

from __future__ import annotations

from pipeline.methods.gans import GAN
from pipeline.methods.gans.parts.adversarial import LOSSES
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.params.gans import CGANSettings

CONDITIONAL = True


def build(settings: CGANSettings, size: int, channels: int, classes: int) -> GAN:
    """Return generator and critic with fresh weights from torch's global random numbers."""
    return GAN(
        Decoder(settings.latent, size, channels, settings.width, classes),
        Critic(size, channels, settings.width, "layer", classes, settings.condition),
        *LOSSES[settings.loss],
        betas=(0.5, 0.999) if settings.loss == "cross_entropy" else (0.0, 0.9),
        critic_steps=settings.critic_steps,
        penalty=settings.penalty,
        mismatched=settings.mismatched,
    )
