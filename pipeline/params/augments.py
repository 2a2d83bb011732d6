"""Settings of the augmentations: the block `augments.<name>` of each module in `pipeline/methods/augments`."""

from __future__ import annotations

from typing import Literal

from pipeline.params.types import Block, Fraction, NoSettings, Rate


class CutoutSettings(Block):
    """Settings of cutout."""

    probability: Fraction
    area: Fraction


class MixupSettings(Block):
    """Settings of mixup."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None


class CutMixSettings(Block):
    """Settings of CutMix."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None


class MixCutSettings(Block):
    """Settings of MixCut. The paper's tables 4 and 5 vary `lam` and `area`."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None
    eta: Rate
    area: Fraction | None
    square: Literal["text", "algorithm"]


class MixAugmentSettings(Block):
    """Settings of MixAugment."""

    alpha: Rate
    lam: Fraction | None


class FMixSettings(Block):
    """Settings of FMix. `mask: official` repeats the sampler that its authors published."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None
    decay: Rate
    mask: Literal["isotropic", "official"]


class Augments(Block):
    """One block for each augmentation. Only the chosen one has to be there."""

    none: NoSettings | None = None
    cutout: CutoutSettings | None = None
    mixup: MixupSettings | None = None
    cutmix: CutMixSettings | None = None
    mixcut: MixCutSettings | None = None
    mixaugment: MixAugmentSettings | None = None
    fmix: FMixSettings | None = None
