"""Settings of the GANs: the block `gans`, with `gans.<name>` for each module in `pipeline/methods/gans`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.types import Block, Count, Decay, Fraction, NonNegative, NoSettings, Positive, Rate


class AdversarialSettings(Block):
    """Settings that the training of every GAN has.

    Attributes:
        epochs: passes over the class's faces, counted in steps of the critic.
        least_steps: steps of the critic; a class whose epochs hold fewer is trained for more epochs.
        latent: length of the noise vector.
        width: channels of the generator's layer before the last and of the critic's first; deeper layers have up to 8
            times as many.
        ema: decay of the generator's moving average, which draws the faces; 0: no average.
        mirror: whether half of the real faces are mirrored.
        diffaugment: differentiable augmentations: none, some or all of the three.
        diffaugment_below: the augmentations are used if there are fewer faces than this.
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
    """Thresholds below which generated faces are discarded."""

    confidence: Fraction
    detector: bool
    distance: NonNegative


class Generators(Block):
    """One block for each GAN. Only the chosen one has to be there."""

    none: NoSettings | None = None
    dcgan: DCGANSettings | None = None
    wgan_gp: WGANGPSettings | None = None
    cgan: CGANSettings | None = None
    repeat: NoSettings | None = None


class Gans(Generators):
    """The classes that get synthetic faces, how many, and one block for each GAN."""

    classes: list[str]
    images_per_class: Positive | Literal["balance"]
    balance_to: Positive | None
    processes: Annotated[int, Field(ge=0, le=64)]
    judge_epochs: Positive
    filters: Filters
