"""The typed, validated view of `params.yaml`: the only code that reads it.

A switch's value is a module's name: `augment: mixcut` is `pipeline/augment/mixcut.py`. So the list of allowed
values is the list of files in a folder, and what a method can be told is the class `Params` in its own file.
A new method is one file and one block in `params.yaml`; nothing here changes.
"""

from __future__ import annotations

import ast
import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline import combinations
from pipeline.errors import UserError, one_line
from pipeline.methods import BLOCKS, choices, modules, network_module
from pipeline.refusal import Conflict, wording
from pipeline.schema import CLASSES

PARAMS_FILE = Path("params.yaml")

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ClassWeights = Literal["min_over_count", "normalized", "inverse"]


class Block(BaseModel):
    """A block of `params.yaml`: unknown keys and wrong types are refused, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class Network(Block):
    """What every network of a library can be told."""

    dropout: Fraction = 0.0
    extra: Positive | None = None
    frozen: Annotated[int, Field(ge=0, le=5)] = 0
    weights: str | None = None
    scaling: Literal["faces", "imagenet"] = "faces"

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> Self:
        if self.frozen and self.weights is None:
            raise ValueError("frozen: 0 while weights is null, as the stages would stay as they were drawn")
        return self


class Vgg(Network):
    """What a VGG network can be told; `top` is what stands on the convolutions."""

    dropout: Fraction = 0.5
    top: Literal["small", "standard"] = "small"
    batch_norm: bool = True


class Lookahead(Block):
    """What Ranger can be told, with or without gradient centralisation; `weight_decay` is decoupled (AdamW's)."""

    learning_rate: Rate
    beta1: Decay = 0.95
    beta2: Decay = 0.999
    weight_decay: NonNegative = 0.0
    lookahead_steps: Positive = 6
    lookahead_share: Fraction = 0.5


class Adversarial(Block):
    """What the training of every GAN can be told.

    Attributes:
        epochs: passes over the class's faces, in steps of the critic.
        least_steps: a class so small that its epochs hold fewer steps of the critic is trained for more epochs.
        latent: length of the noise vector.
        width: channels of the generator's layer before the last and of the critic's first; deeper ones have up to 8
            times as many.
        ema: decay of the generator's moving average, which then draws the faces; 0: none.
        mirror: whether half of the real faces are mirrored.
        diffaugment: differentiable augmentations, none or some of the three.
        diffaugment_below: they are used where there are fewer faces than this.
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


class Filters(Block):
    """Which generated faces are not kept."""

    confidence: Fraction
    detector: bool
    distance: NonNegative


def _declared(path: Path) -> type[Block]:
    """Return the class `Params` declared in a method's module without importing that module.

    Methods import torch, which takes longer than a wrong key in `params.yaml` may take to be refused.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Params"]
    if not found:
        return Block
    namespace: dict[str, Any] = {**globals(), "__name__": f"{__package__}.{path.parent.name}.{path.stem}"}
    body = ast.Module(body=list(found), type_ignores=[])
    exec(compile(body, str(path), "exec", dont_inherit=True), namespace)
    return namespace["Params"]


def _room(switch: str, **common: Any) -> type[Block]:
    """Return the model of a plural block: one optional block for each method of the switch."""
    paths = modules(switch)
    if switch == "model":
        blocks = {name: _declared(paths[network_module(name)]) for name in choices(switch)}
    else:
        blocks = {name: _declared(path) for name, path in paths.items()}
    fields: dict[str, Any] = {name: (block | None, None) for name, block in blocks.items()}
    return create_model(BLOCKS[switch].capitalize(), __base__=Block, **fields, **common)


class Sample(Block):
    """The embedded sample: generated faces in scenes, with simulated annotators."""

    pictures: Annotated[int, Field(ge=200, le=20_000)]
    seed: Count


class Align(Block):
    """How a face is found and cut out."""

    mode: Literal["five_point", "crop", "none"]
    landmarks: Literal["detect", "given"]
    detector: str
    weights: str
    # Not `size`: DVC leaves keys of that name out of the hash by which it finds earlier runs.
    face_size: Annotated[int, Field(ge=16, le=512)]
    colour: bool
    missing: Literal["keep", "drop"]
    threshold: Annotated[float, Field(gt=0, lt=1)]

    @field_validator("detector")
    @classmethod
    def _detector(cls, value: str) -> str:
        return _one_of(value, choices("detector"))


class Labels(Block):
    """How votes become labels."""

    rule: Literal["plurality", "majority", "distribution"]
    merge: dict[str, str]
    min_votes: Count
    min_share: Fraction
    duplicates: Literal["keep", "drop_from_train", "drop_from_eval"]
    valid: Fraction
    test: Fraction

    @field_validator("merge")
    @classmethod
    def _merge(cls, value: dict[str, str]) -> dict[str, str]:
        for name in (*value, *value.values()):
            _one_of(name, CLASSES)
        return value

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.valid + self.test >= 1:
            raise Conflict(
                "labels.valid + labels.test", self.valid + self.test, "less than 1: the rest is train"
            )
        return self


class Train(Block):
    """What every training run has."""

    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    crop: Annotated[int, Field(ge=16)]
    mirror: bool
    resized_crop: Annotated[list[Share], Field(min_length=2, max_length=2)] | None
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)]
    shear: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
    translation: Fraction
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction
    hue: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]
    albumentations: Any
    workers: Annotated[int, Field(ge=0, le=64)]
    torchrun: str | None
    label_smoothing: Fraction
    sampling: Literal["natural", "over", "under"]
    schedule: Literal["constant", "cosine", "step", "multi_step", "one_cycle"]
    schedule_start: Count
    schedule_every: Positive
    schedule_factor: Annotated[float, Field(gt=0, le=1)]
    milestones: list[Positive]
    warmup: Fraction
    ema: Decay
    clip: NonNegative
    patience: Count
    precision: Literal["auto", "float32", "bfloat16"]
    device: Literal["auto", "cpu", "cuda"]
    checkpoint_seconds: NonNegative
    synthetic: Literal["beside", "alone"]

    @field_validator("milestones")
    @classmethod
    def _milestones(cls, value: list[int]) -> list[int]:
        if sorted(set(value)) != value:
            raise ValueError("ascending epochs, each once")
        return value

    @model_validator(mode="after")
    def _schedule(self) -> Self:
        if self.schedule == "multi_step" and not self.milestones:
            raise Conflict("train.milestones", [], "at least one epoch while train.schedule is multi_step")
        return self

    @field_validator("resized_crop")
    @classmethod
    def _resized_crop(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("null or two shares of the face's area, the smaller one first")
        return value

    @field_validator("albumentations")
    @classmethod
    def _albumentations(cls, value: Any) -> Any:
        # Which transforms there are, and what each can be told, is the library's to say: pipeline/training/recipe.py.
        listed = isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
        try:
            json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            listed = value = False  # such as a date, which YAML has and the serialised form has not
        if not (value is None or isinstance(value, dict) or listed):
            raise ValueError("null, a list of transforms, or what albumentations.to_dict returns")
        return value


class Evaluate(Block):
    """How the trained network is scored."""

    ten_crop: bool
    mirror: bool
    bootstrap: Annotated[int, Field(ge=0, le=100_000)]
    mistakes: Annotated[int, Field(ge=1, le=1000)]


if TYPE_CHECKING:

    class Gans(Block):
        """Which classes get synthetic faces and how many; with one block for each GAN."""

        classes: list[str]
        images_per_class: int | Literal["balance"]
        balance_to: int | None
        processes: int
        judge_epochs: int
        filters: Filters

    class Augments(Block):
        """One block for each augmentation."""

    class Losses(Block):
        """One block for each loss."""

    class Models(Block):
        """One block for each network."""

    class Optimizers(Block):
        """One block for each optimiser."""
else:
    Augments, Losses, Models, Optimizers = (_room(s) for s in ("augment", "loss", "model", "optimizer"))
    Gans = _room(
        "gan",
        classes=(list[str], ...),
        images_per_class=(Positive | Literal["balance"], ...),
        balance_to=(Positive | None, ...),
        processes=(Annotated[int, Field(ge=0, le=64)], ...),
        judge_epochs=(Positive, ...),
        filters=(Filters, ...),
    )


class Params(Block):
    """The whole of `params.yaml`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    datasets: Annotated[list[str], Field(min_length=1)]
    classes: Annotated[list[str], Field(min_length=2)]
    augment: str
    loss: str
    model: str
    optimizer: str
    gan: str
    engine: Literal["local", "ray"]
    sample: Sample
    align: Align
    labels: Labels
    gans: Gans
    augments: Augments
    losses: Losses
    models: Models
    optimizers: Optimizers
    train: Train
    evaluate: Evaluate

    @field_validator("augment", "loss", "model", "optimizer", "gan")
    @classmethod
    def _switch(cls, value: str, info: Any) -> str:
        return _one_of(value, choices(info.field_name))

    @field_validator("datasets")
    @classmethod
    def _datasets(cls, value: list[str]) -> list[str]:
        return _distinct([_one_of(name, choices("dataset")) for name in value])

    @field_validator("classes")
    @classmethod
    def _classes(cls, value: list[str]) -> list[str]:
        return _distinct([_one_of(name, CLASSES) for name in value])

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        combinations.check(self)
        return self

    def chosen(self, switch: str) -> tuple[str, Any]:
        """Return the name that a switch has chosen and the settings of that method."""
        name = getattr(self, switch)
        return name, getattr(getattr(self, BLOCKS[switch]), name)


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        close = difflib.get_close_matches(value, allowed, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"one of {', '.join(allowed)}{hint}")
    return value


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("each name once")
    return values


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and validate `params.yaml`.

    Raises:
        UserError: one line that names the file, the key, what was found and what is allowed.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run this in the folder that holds params.yaml and dvc.yaml"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: {line}not valid YAML: {one_line(error.problem)}") from None
    except (YAMLError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found {type(raw).__name__}, allowed: keys and values")
    return validated(raw, path)


def validated(raw: dict[str, Any], path: Path) -> Params:
    """Return parameters that were read from `path`.

    Raises:
        UserError: as `load`.
    """
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {wording(error, Params)}") from None
