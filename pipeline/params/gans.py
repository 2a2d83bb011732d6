"""Settings of the GANs. `gans.<name>` belongs to the module `pipeline/methods/gans/<name>.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.types import (
    UNCHOSEN,
    Block,
    Count,
    Decay,
    Fraction,
    NonNegative,
    NoSettings,
    Positive,
    Rate,
)


class AdversarialSettings(Block):
    """Settings of the training that all GANs share.

    Attributes:
        epochs: passes over the faces of the class, counted in steps of the critic.
        least_steps: least number of critic steps; a class with fewer steps in its epochs is trained for more epochs.
        latent: length of the noise vector.
        width: channels of the critic's first layer and of the generator's last but one. Deeper layers have up to 8
            times as many.
        ema: decay of the generator's moving average, which generates the faces; 0: no average.
        mirror: whether half of the real faces are mirrored.
        diffaugment: differentiable augmentations: none, some or all of the three.
        diffaugment_below: use these augmentations only for classes with fewer faces than this.
    """

    epochs: Positive
    least_steps: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Rate
    latent: Positive
    width: Positive
    ema: Decay
    mirror: bool
    diffaugment: list[Literal["colour", "translation", "cutout"]]
    diffaugment_below: Count


class DCGANSettings(AdversarialSettings):
    """Settings of DCGAN."""


class WGANGPSettings(AdversarialSettings):
    """Settings of WGAN-GP."""

    penalty: Rate
    critic_steps: Positive


class CGANSettings(AdversarialSettings):
    """Settings of CGAN."""

    penalty: NonNegative
    condition: Literal["projection", "concatenation"]
    mismatched: Fraction
    loss: Literal["cross_entropy", "wasserstein"]
    critic_steps: Positive


class Filters(Block):
    """Filters that discard generated faces."""

    confidence: Fraction
    detector: bool
    distance: NonNegative


class Generators(Block):
    """One block for each GAN. Only the block of the chosen one is required."""

    none: NoSettings = UNCHOSEN
    dcgan: DCGANSettings = UNCHOSEN
    wgan_gp: WGANGPSettings = UNCHOSEN
    cgan: CGANSettings = UNCHOSEN
    repeat: NoSettings = UNCHOSEN


class Gans(Generators):
    """The block `gans`: what GANs learn from, which classes get synthetic faces, how many, and a block for each GAN."""

    datasets: list[str] | None
    classes: list[str]
    images_per_class: Positive | Literal["balance"]
    balance_to: Positive | None
    processes: Annotated[int, Field(ge=0, le=64)]
    judge_epochs: Positive
    filters: Filters
