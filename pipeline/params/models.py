"""Settings of the networks: the blocks `models.<name>`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.types import UNCHOSEN, Before, Block, Fraction, Line, Rate

Stem = Literal["small", "standard"]
Scaling = Literal["faces", "imagenet", "unit", "arcface", "vggface2"]


class NetworkSettings(Block):
    """Settings that all networks share."""

    dropout: Fraction
    extra: Annotated[int, Field(ge=2, le=65_536)] | None
    frozen: Annotated[int, Field(ge=0, le=5)]
    weights: Line | None
    scaling: Scaling

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> Self:
        if self.frozen and self.weights is None:
            raise ValueError("frozen: 0 while weights is null: frozen stages would keep their random weights")
        return self


class ResNetSettings(NetworkSettings):
    """Settings of a residual network."""

    stem: Stem


class ResNet50Settings(ResNetSettings):
    """Settings of a residual network of bottleneck blocks. `caffe` is the form that VGGFace2's weights need."""

    caffe: Annotated[bool, Before(False)]


class BoosterSettings(NetworkSettings):
    """Settings of a boosted residual network. Table 6 of the paper also tries each of its changes alone."""

    stem: Stem
    skip: bool
    mish: bool
    booster: Literal["none", "plus", "depthwise"]


class SEResNetSettings(NetworkSettings):
    """Settings of a squeeze-and-excitation network. `caffe` is the form that VGGFace2's weights need."""

    stem: Stem
    caffe: Annotated[bool, Before(False)]


class IResNetSettings(NetworkSettings):
    """Settings of a residual network for face recognition."""


class DenseNetSettings(NetworkSettings):
    """Settings of a densely connected network."""

    stem: Stem


class EfficientNetSettings(NetworkSettings):
    """Settings of an EfficientNet. `frozen` counts the nine stages in table 1 of its paper."""

    stem: Stem
    frozen: Annotated[int, Field(ge=0, le=9)]


class FerVGGSettings(NetworkSettings):
    """Settings of the VGG-19 in the MixCut paper."""


class VGGSettings(NetworkSettings):
    """Settings of a VGG network. `top` names the layers after the convolutions."""

    top: Literal["small", "standard"]
    batch_norm: bool


class LightSettings(NetworkSettings):
    """Settings of the light network."""


class FastSettings(NetworkSettings):
    """Settings of the fast network. `width` is the number of channels of its second stage."""

    width: Annotated[int, Field(ge=16, le=1024, multiple_of=16)]
    members: Annotated[int, Field(ge=1, le=16), Before(1)]

    @model_validator(mode="after")
    def _frozen_needs_one_member(self) -> Self:
        if self.frozen and self.members > 1:
            raise ValueError(
                "frozen: 0 while members is above 1: the stages of several networks cannot be frozen"
            )
        return self


class TimmSettings(NetworkSettings):
    """Settings of a network of timm. `frozen` counts the groups of layers that timm names, the stem first."""

    name: Line
    side: Annotated[int, Field(ge=16, le=1024)]
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    frozen: Annotated[int, Field(ge=0, le=100)]
    scaling: Literal["faces", "imagenet", "unit", "arcface", "vggface2", "timm"]  # type: ignore[assignment]


class DeepFeaturesSettings(Block):
    """Settings of the deep features and of the support vector machine: `C` is scikit-learn's weight of errors."""

    weights: Annotated[dict[Literal["vgg13", "vgg16", "vgg19"], Line | None], Field(min_length=1)]
    top: Literal["small", "standard"]
    batch_norm: bool
    scaling: Scaling
    side: Annotated[int, Field(ge=32, le=512)] | None
    C: Rate


class Models(Block):
    """One block for each network. Only the block of the chosen one is required."""

    resnet18: ResNetSettings = UNCHOSEN
    resnet50: ResNet50Settings = UNCHOSEN
    resnet18_booster: BoosterSettings = UNCHOSEN
    resnet50_booster: BoosterSettings = UNCHOSEN
    se_resnet50: SEResNetSettings = UNCHOSEN
    iresnet50: IResNetSettings = UNCHOSEN
    iresnet100: IResNetSettings = UNCHOSEN
    densenet121: DenseNetSettings = UNCHOSEN
    efficientnet_b0: EfficientNetSettings = UNCHOSEN
    vgg19_fer: FerVGGSettings = UNCHOSEN
    vgg13: VGGSettings = UNCHOSEN
    vgg16: VGGSettings = UNCHOSEN
    light: LightSettings = UNCHOSEN
    fast: FastSettings = UNCHOSEN
    timm: TimmSettings = UNCHOSEN
    svm_deep_features: DeepFeaturesSettings = UNCHOSEN
