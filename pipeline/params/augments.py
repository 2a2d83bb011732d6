"""Settings of the augmentations. `augments.<name>` belongs to the module `pipeline/methods/augments/<name>.py`."""

from __future__ import annotations

from typing import Literal

from pipeline.params.types import UNCHOSEN, Block, Fraction, NoSettings, Rate


class Drawn(Block):
    """Setting of augmentations that draw: for each face, or once for all faces of a batch."""

    per: Literal["face", "batch"]


class CutoutSettings(Drawn):
    """Settings of cutout."""

    probability: Fraction
    area: Fraction


class MixupSettings(Drawn):
    """Settings of mixup."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None


class CutMixSettings(Drawn):
    """Settings of CutMix."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None


class MixCutSettings(Drawn):
    """Settings of MixCut. Tables 4 and 5 of the paper vary `lam` and `area`."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None
    eta: Rate
    area: Fraction | None
    square: Literal["text", "algorithm"]


class MixAugmentSettings(Drawn):
    """Settings of MixAugment."""

    alpha: Rate
    lam: Fraction | None


class FMixSettings(Drawn):
    """Settings of FMix. `mask: official` is the sampler that the authors published."""

    probability: Fraction
    alpha: Rate
    lam: Fraction | None
    decay: Rate
    mask: Literal["isotropic", "official"]


class Augments(Block):
    """One block for each augmentation. Only the block of the chosen one is required."""

    none: NoSettings = UNCHOSEN
    cutout: CutoutSettings = UNCHOSEN
    mixup: MixupSettings = UNCHOSEN
    cutmix: CutMixSettings = UNCHOSEN
    mixcut: MixCutSettings = UNCHOSEN
    mixaugment: MixAugmentSettings = UNCHOSEN
    fmix: FMixSettings = UNCHOSEN
