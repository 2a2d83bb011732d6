"""WGAN-GP, one for each class: the critic estimates how far apart real and generated faces are.

Gulrajani et al. 2017, algorithm 1: five steps of the critic for each one of the generator, penalty 10, Adam
with betas 0 and 0.9, no batch norm in the critic (layer norm instead, as section 4 recommends). The GAN
augmentation paper trains it with batches of 8 for 200 epochs at a learning rate of 1e-4, and reads its progress
from the critic's value.
"""

from __future__ import annotations

from pipeline.methods.gans import Adversaries
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.methods.gans.parts.losses import LOSSES
from pipeline.params.gans import WGANGPSettings

CONDITIONAL = False


def adversaries(settings: WGANGPSettings, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and critic, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(settings.latent, size, channels, settings.width),
        Critic(size, channels, settings.width, "layer"),
        *LOSSES["wasserstein"],
        betas=(0.0, 0.9),
        critic_steps=settings.critic_steps,
        penalty=settings.penalty,
    )
