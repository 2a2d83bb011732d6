"""Reject combinations of parameters that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pipeline.core.progress import in_yaml
from pipeline.params.methods import BLOCKS
from pipeline.params.refusal import Conflict
from pipeline.params.types import hint
from pipeline.tables.vocabulary import CLASSES, NO_CLASS, spelled

if TYPE_CHECKING:
    from pipeline.params.model import Params

# A GAN halves the face four times, so it needs 16 pixels. Its published depth is enough for 128.
GAN_SIDES = (16, 128)


def check(p: Params) -> None:
    """Reject values that are valid alone but cannot work together.

    Raises:
        Conflict: names the key, the value found and the allowed values.
    """
    spellings = {spelled(name): name for name in p.classes}
    for label, name in p.ingest.names.items():
        if (own := spellings.get(spelled(name), name)) != name:
            raise Conflict(f"ingest.names.{label}", name, f"{own}, as classes has it")
    others = [name for name in dict.fromkeys((*CLASSES, *p.ingest.names.values())) if name not in NO_CLASS]
    for name, into in p.labels.merge.items():
        if name in p.classes:
            allowed = f"nothing while {name} is in classes: remove it from classes"
            raise Conflict(f"labels.merge.{name}", into, allowed)
        if name not in others:
            raise Conflict("labels.merge", name, f"one of {', '.join(others)}{hint(name, others)}")
        _check_class(f"labels.merge.{name}", into, p.classes)
    distribution = p.labels.rule == "distribution"
    _require(
        p,
        "labels.drop_single",
        distribution or not p.labels.drop_single,
        "false unless labels.rule is distribution",
    )
    for switch, block in BLOCKS.items():
        name, settings = p.chosen(switch)
        if settings is None:
            raise Conflict(f"{block}.{name}", "nothing", f"a block of settings, because {switch} is {name}")
    for key in ("train.datasets", "gans.datasets"):
        names = attrgetter(key)(p)
        fits = names is None or 0 < len(names) == len(set(names) & set(p.datasets))
        _require(p, key, fits, f"null or names from datasets, each once: {', '.join(p.datasets)}")
    check_crop("train.crop", p.train.crop, p.align.face_size, *p.chosen("model"))
    waits = p.train.patience and p.train.best == "last"
    _require(p, "train.patience", not waits, "0 while train.best is last: no epoch is better than another")
    for key in ("train.saturation", "train.hue"):
        grey_too = p.align.colour or not attrgetter(key)(p)
        _require(p, key, grey_too, "0 while align.colour is false: grey has none")
    alone = p.train.torchrun is None or not p.train.compile
    _require(p, "train.compile", alone, "false while train.torchrun is set: processes share a batch")
    _require(
        p,
        "train.accumulate",
        p.train.torchrun is None or p.train.accumulate == 1,
        "1 while train.torchrun is set",
    )
    fits = p.train.accumulate <= p.train.batch_size // 2
    _require(p, "train.accumulate", fits, "at most half of train.batch_size: batch norm needs two faces")
    if p.model == "svm_deep_features":
        _check_svm(p)
    if p.model == "fast" and p.models.fast.members > 1:
        _check_members(p)
    if p.evaluate.ten_crop:
        smaller = "false while train.crop equals align.face_size: nothing to crop"
        _require(p, "evaluate.ten_crop", p.train.crop < p.align.face_size, smaller)
        once = "false while evaluate.ten_crop is true: its crops are mirrored too"
        _require(p, "evaluate.mirror", not p.evaluate.mirror, once)
    _check_gan(p)


def check_crop(key: str, crop: int, face_size: int, model: str, settings: Any) -> None:
    """Reject a crop that is larger than the face, or that the network would pool to nothing.

    Args:
        key: key of the crop.
        crop, face_size: sides in pixels.
        model, settings: name and settings of the network.

    Raises:
        Conflict: as `check`.
    """
    if crop > face_size:
        raise Conflict(key, crop, f"at most align.face_size, which is {face_size}")
    pooled = {
        f"model is {model}": model.startswith("vgg"),
        "models.densenet121.stem is standard": model == "densenet121" and settings.stem == "standard",
        "models.svm_deep_features.side is null": model == "svm_deep_features" and settings.side is None,
    }
    for why, holds in pooled.items():
        if holds and crop < 32:
            raise Conflict(key, crop, f"at least 32 while {why}")


def _check_class(key: str, name: str, classes: Sequence[str]) -> None:
    """Reject a name that is not in `classes`."""
    if name not in classes:
        raise Conflict(key, name, f"names from classes: {', '.join(classes)}{hint(name, classes)}")


def _require(p: Params, key: str, holds: bool, allowed: str) -> None:
    """Reject the value of `key` if a condition does not hold."""
    if not holds:
        raise Conflict(key, attrgetter(key)(p), allowed)


def _check_members(p: Params) -> None:
    """Reject settings under which the networks of `models.fast.members` would not learn each as if alone."""
    key, members = "models.fast.members", p.models.fast.members
    most = p.train.batch_size // p.train.accumulate // 2
    each = f"at most {most}, half of the faces that pass the network at once: each learns from two or more"
    _require(p, key, members <= most, each)
    _require(p, key, p.train.torchrun is None, "1 while train.torchrun is set: processes share a batch")
    shared = p.loss in ("center", "weighted_center", "weighted_cluster") and p.models.fast.extra is None
    _require(p, key, not shared, f"1 while loss is {p.loss}: its centres are in the features of all networks")


def _check_gan(p: Params) -> None:
    gans, alone = p.gans, p.train.synthetic == "alone"
    balanced = gans.balance_to is None or gans.images_per_class == "balance"
    _require(p, "gans.balance_to", balanced, "null unless gans.images_per_class is balance")
    if p.gan == "none":
        _require(p, "train.synthetic", not alone, "beside while gan is none: there is nothing to train on")
        return
    least, most = GAN_SIDES
    fits = least <= p.align.face_size <= most
    _require(p, "align.face_size", fits, f"{least} to {most} while gan is {p.gan}")
    for name in gans.classes:
        _check_class("gans.classes", name, p.classes)
    _require(p, "gans.classes", len(set(gans.classes)) == len(gans.classes), "each name once")
    wanted = isinstance(gans.images_per_class, int)
    a_number = "a number while train.synthetic is alone: balance makes no faces of the largest class"
    _require(p, "gans.images_per_class", wanted or not alone, a_number)
    if alone and (missing := [name for name in p.classes if name not in gans.classes]):
        allowed = f"beside while gans.classes lacks {', '.join(missing)}, or all classes there"
        raise Conflict("train.synthetic", "alone", allowed)


def _check_svm(p: Params) -> None:
    """Reject settings that a support vector machine cannot use: it learns no shares and makes no steps."""
    fixed = {"augment": "none", "loss": "softmax", "train.torchrun": None, "train.temperature": False}
    for key, value in fixed.items():
        allowed = f"{in_yaml(value)} while model is svm_deep_features"
        _require(p, key, attrgetter(key)(p) == value, allowed)
    labels = "plurality or majority while model is svm_deep_features"
    _require(p, "labels.rule", p.labels.rule != "distribution", labels)
