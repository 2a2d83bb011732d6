"""WGAN-GP, one for each class: the critic estimates how far apart real and generated faces are.

Gulrajani et al. 2017, algorithm 1: five steps of the critic for each one of the generator, penalty 10, Adam
with betas 0 and 0.9, no batch norm in the critic (layer norm instead, as section 4 recommends). The GAN
augmentation paper trains it with batches of 8 for 200 epochs at a learning rate of 1e-4, and reads its progress
from the critic's value.
"""

from __future__ import annotations

from pipeline.gan import Adversaries
from pipeline.gan._convolutional import Critic, Decoder
from pipeline.gan._losses import LOSSES
from pipeline.params import Adversarial, Positive, Rate

CONDITIONAL = False


class Params(Adversarial):
    """Settings of WGAN-GP."""

    penalty: Rate
    critic_steps: Positive


def adversaries(params: Params, size: int, channels: int, classes: int) -> Adversaries:
    """Return generator and critic, with fresh weights from torch's own generator."""
    return Adversaries(
        Decoder(params.latent, size, channels, params.width),
        Critic(size, channels, params.width, "layer"),
        *LOSSES["wasserstein"],
        betas=(0.0, 0.9),
        critic_steps=params.critic_steps,
        penalty=params.penalty,
    )
