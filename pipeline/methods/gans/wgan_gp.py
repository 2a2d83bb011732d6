"""WGAN-GP: one GAN per class, whose critic estimates the Wasserstein distance between real and generated faces.

Gulrajani et al. 2017, algorithm 1: five steps of the critic per step of the generator, penalty 10, Adam with betas 0
and 0.9. The critic has layer norm instead of batch norm, as section 4 recommends. The GAN augmentation paper trains it
with batches of 8 for 200 epochs at a learning rate of 1e-4, and reads its progress from the critic's value.
"""

from __future__ import annotations

from pipeline.methods.gans import GAN
from pipeline.methods.gans.parts.adversarial import LOSSES
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.params.gans import WGANGPSettings

CONDITIONAL = False


def build(settings: WGANGPSettings, size: int, channels: int, classes: int) -> GAN:
    """Return generator and critic with fresh weights from torch's global random numbers."""
    return GAN(
        Decoder(settings.latent, size, channels, settings.width),
        Critic(size, channels, settings.width, "layer"),
        *LOSSES["wasserstein"],
        betas=(0.0, 0.9),
        critic_steps=settings.critic_steps,
        penalty=settings.penalty,
    )
