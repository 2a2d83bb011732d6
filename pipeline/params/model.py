"""The blocks of `params.yaml` as classes, so that a type checker knows every key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pipeline.params.augments import Augments
from pipeline.params.gans import Gans
from pipeline.params.losses import Losses
from pipeline.params.methods import BLOCKS, choices
from pipeline.params.models import Models
from pipeline.params.optimizers import Optimizers
from pipeline.params.refusal import Conflict
from pipeline.params.types import (
    Amount,
    Before,
    Block,
    ClassName,
    Count,
    Decay,
    Fraction,
    Line,
    Meaning,
    NonNegative,
    Positive,
    Rate,
    Share,
    distinct,
    one_of,
)
from pipeline.tables.paths import EXCLUDE
from pipeline.tables.vocabulary import spelled


class Sample(Block):
    """Size and seed of the embedded sample: rendered faces with the votes of simulated annotators."""

    images: Annotated[int, Field(ge=200, le=20_000)]
    seed: Count


def _texts(value: Any) -> Any:
    """Return a mapping with its keys as text: YAML takes the label 0 for a number."""
    if not isinstance(value, dict):
        return value
    return {str(key): name for key, name in value.items()}


class Ingest(Block):
    """How data sets are read: the form of some, the names of classes, and what to do about rejected records."""

    rafdb: Literal["original", "aligned"]
    names: Annotated[dict[str, Meaning], BeforeValidator(_texts)]
    rejected: Literal["stop", "accept"]


def _class_names(value: list[str]) -> list[str]:
    """Return names if their spellings differ: a data set may write `Pain` for `pain`, and `no-pain` for `no_pain`."""
    distinct([spelled(name) for name in value])
    return value


# Also of what a model file says, see `pipeline.inference.model_file`.
Classes = Annotated[list[ClassName], Field(min_length=2), AfterValidator(_class_names)]
Crop = Annotated[int, Field(ge=16)]
Precision = Literal["auto", "float32", "bfloat16"]
Rule = Literal["plurality", "majority", "distribution"]
Mode = Literal["five_point", "crop", "none"]


def _by_dataset(value: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping if its keys are names of data sets."""
    for name in value:
        one_of(name, choices("dataset"))
    return value


class Align(Block):
    """Settings for finding faces and cutting them out, the same for all images."""

    mode: Mode
    landmarks: Literal["detect", "given"]
    detector: str
    weights: Line
    # Not `size`: DVC ignores keys of that name when it looks for an earlier run.
    face_size: Annotated[int, Field(ge=16, le=512)]
    zoom: Annotated[float, Field(ge=0.25, le=4), Before(1.0)]
    lift: Annotated[float, Field(ge=-0.5, le=0.5), Before(0.0)]
    colour: bool
    missing: Literal["keep", "drop"]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    turn: Annotated[bool, Before(False)]

    @field_validator("detector")
    @classmethod
    def _detector(cls, value: str) -> str:
        return one_of(value, choices("detector"))


class Alignment(Align):
    """Settings for finding faces and cutting them out, with other modes for single data sets."""

    modes: Annotated[dict[str, Mode], AfterValidator(_by_dataset)]

    def of(self, dataset: str) -> Align:
        """Return the settings for the images of a data set."""
        return self._in(self.modes.get(dataset, self.mode))

    def for_prediction(self, datasets: list[str]) -> Align:
        """Return the settings for other images.

        Args:
            datasets: whose faces the model learned from. If all of them have one mode, prediction has it too; if not,
                it has `mode`.
        """
        modes = {self.of(name).mode for name in datasets}
        return self._in(modes.pop() if len(modes) == 1 else self.mode)

    def _in(self, mode: Mode) -> Align:
        return Align.model_validate(self.model_dump(exclude={"modes"}) | {"mode": mode})


class Labels(Block):
    """Settings for turning votes into labels."""

    rule: Rule
    merge: dict[ClassName, ClassName]
    min_votes: Count
    min_share: Fraction
    drop_single: bool
    duplicates: Literal["keep", "drop_from_train", "drop_from_eval"]
    published_valid: Annotated[dict[str, Literal["valid", "test", "drop"]], AfterValidator(_by_dataset)]
    valid: Amount
    test: Amount
    fold: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None
    exclude: Line | None

    @field_validator("exclude")
    @classmethod
    def _exclude(cls, value: str | None) -> str | None:
        # The stage label depends on this folder, so DVC sees every change of a file there.
        if value is not None and EXCLUDE not in Path(os.path.normpath(value)).parents:
            raise ValueError(f"null or a CSV file in {EXCLUDE}/, where DVC sees its changes")
        return value

    @model_validator(mode="after")
    def _shares(self) -> Self:
        shares = sum(amount for amount in map(self.size, ("valid", "test")) if isinstance(amount, float))
        if shares >= 1:
            drawn = "labels.valid + one part of labels.fold" if self.fold else "labels.valid + labels.test"
            raise Conflict(drawn, shares, "less than 1: the rest is train")
        return self

    @field_validator("fold")
    @classmethod
    def _fold(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and not value[0] <= value[1] >= 2:
            raise ValueError("null, or [part, parts] with at least two parts, such as [1, 5]")
        return value

    def size(self, split: str) -> int | float:
        """Return the size of a drawn split, `valid` or `test`: a share, or a number of samples of each class."""
        if split == "test" and self.fold:
            return 1 / self.fold[1]
        return self.valid if split == "valid" else self.test


class Train(Block):
    """Settings that all training runs share."""

    datasets: list[str] | None
    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Positive
    crop: Crop
    mirror: bool
    resized_crop: Annotated[list[Share], Field(min_length=2, max_length=2)] | None
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)]
    shear: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
    translation: Fraction
    scale: Annotated[float, Field(ge=0, le=0.9)]
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction
    hue: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]
    erasing: Fraction
    trivial_augment: bool
    albumentations: Any
    workers: Annotated[int, Field(ge=0, le=64)]
    torchrun: Line | None
    label_smoothing: Fraction
    sampling: Literal["natural", "over", "under"]
    schedule: Literal["constant", "cosine", "flat_cosine", "step", "multi_step", "one_cycle"]
    schedule_start: NonNegative
    schedule_every: Rate
    schedule_factor: Annotated[float, Field(gt=0, le=1)]
    milestones: list[Positive]
    warmup: Fraction
    ema: Decay
    clip: NonNegative
    sam: NonNegative
    best: Literal["accuracy", "macro_recall", "macro_f1", "loss", "last"]
    patience: Count
    temperature: bool
    precision: Precision
    device: Literal["auto", "cpu", "cuda"]
    compile: bool
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
        # pipeline/training/face_transform.py checks the transforms and their arguments with the library itself.
        listed = isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
        try:
            json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            listed = value = False  # such as a date: YAML has dates, the serialised form does not
        if not (value is None or isinstance(value, dict) or listed):
            raise ValueError("null, a list of transforms, or what albumentations.to_dict returns")
        return value


class Evaluate(Block):
    """Settings for scoring the trained network."""

    ten_crop: bool
    mirror: bool
    bootstrap: Annotated[int, Field(ge=0, le=100_000)]
    mistakes: Annotated[int, Field(ge=1, le=1000)]
    groups: Annotated[list[Line], AfterValidator(distinct)]


class Params(Block):
    """All of `params.yaml`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    datasets: Annotated[list[str], Field(min_length=1)]
    classes: Classes
    augment: str
    loss: str
    model: str
    optimizer: str
    gan: str
    engine: Literal["local", "ray"]
    workers: Annotated[int, Field(ge=1, le=1024)] | None
    memory: Rate | None
    sample: Sample
    ingest: Ingest
    align: Alignment
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
        return one_of(value, choices(info.field_name))

    @field_validator("datasets")
    @classmethod
    def _datasets(cls, value: list[str]) -> list[str]:
        return distinct([one_of(name, choices("dataset")) for name in value])

    @property
    def train_datasets(self) -> list[str]:
        """Return the data sets that the classifier learns from."""
        return self.train.datasets or self.datasets

    @property
    def gan_datasets(self) -> list[str]:
        """Return the data sets that the GAN learns from."""
        return self.gans.datasets or self.train_datasets

    def chosen(self, switch: str) -> tuple[str, Any]:
        """Return the name and the settings of the method that a switch chooses."""
        name = getattr(self, switch)
        return name, getattr(getattr(self, BLOCKS[switch]), name)
