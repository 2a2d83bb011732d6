"""Which parameters of `params.yaml` do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.params.methods import BLOCKS
from pipeline.params.refusal import Conflict

if TYPE_CHECKING:
    from pipeline.params.model import Params

# Sides of the faces that a GAN's four halvings leave something of, and that its published depth is enough for.
GAN_SIDES = (16, 128)


def check(p: Params) -> None:
    """Refuse values that are right by themselves and cannot work together.

    Raises:
        Conflict: names the key, what was found and what is allowed.
    """
    for name, into in p.labels.merge.items():
        if name in p.classes:
            raise Conflict(
                f"labels.merge.{name}",
                into,
                f"nothing while {name} is one of classes: take it out of them",
            )
        if into not in p.classes:
            raise Conflict(f"labels.merge.{name}", into, f"one of classes: {', '.join(p.classes)}")
    for switch, block in BLOCKS.items():
        name = getattr(p, switch)
        if getattr(getattr(p, block), name) is None:
            raise Conflict(f"{block}.{name}", "nothing", f"a block of settings, because {switch} is {name}")
    if p.train.crop > p.align.face_size:
        raise Conflict("train.crop", p.train.crop, f"at most align.face_size, which is {p.align.face_size}")
    for name in ("saturation", "hue"):
        if not p.align.colour and getattr(p.train, name):
            raise Conflict(
                f"train.{name}", getattr(p.train, name), "0 while align.colour is false: grey has none"
            )
    if p.model.startswith("vgg") and p.train.crop < 32:
        raise Conflict("train.crop", p.train.crop, f"at least 32 while model is {p.model}")
    if p.model == "svm_deep_features":
        _check_svm(p)
    stem = getattr(p.chosen("model")[1], "stem", None)
    if (p.model, stem) == ("densenet121", "standard") and p.train.crop < 32:
        raise Conflict("train.crop", p.train.crop, "at least 32 while models.densenet121.stem is standard")
    if p.evaluate.ten_crop and p.train.crop == p.align.face_size:
        raise Conflict(
            "evaluate.ten_crop", True, "false while train.crop equals align.face_size: nothing to crop"
        )
    if p.evaluate.mirror and p.evaluate.ten_crop:
        raise Conflict(
            "evaluate.mirror", True, "false while evaluate.ten_crop is true: its crops are mirrored too"
        )
    _check_gan(p)


def _check_gan(p: Params) -> None:
    gans = p.gans
    if gans.balance_to is not None and gans.images_per_class != "balance":
        raise Conflict("gans.balance_to", gans.balance_to, "null unless gans.images_per_class is balance")
    if p.gan == "none":
        if p.train.synthetic == "alone":
            raise Conflict(
                "train.synthetic", "alone", "beside while gan is none: there is nothing to train on"
            )
        return
    least, most = GAN_SIDES
    if not least <= p.align.face_size <= most:
        raise Conflict("align.face_size", p.align.face_size, f"{least} to {most} while gan is {p.gan}")
    for name in gans.classes:
        if name not in p.classes:
            raise Conflict("gans.classes", name, f"names from classes: {', '.join(p.classes)}")
    if len(set(gans.classes)) < len(gans.classes):
        raise Conflict("gans.classes", gans.classes, "each name once")
    if p.train.synthetic == "alone" and (missing := [name for name in p.classes if name not in gans.classes]):
        raise Conflict(
            "train.synthetic",
            "alone",
            f"beside while gans.classes lacks {', '.join(missing)}, or all classes there",
        )


def _check_svm(p: Params) -> None:
    """Refuse what a support vector machine cannot do: it has classes instead of shares, and no steps."""
    if p.train.crop < 32 and not p.chosen("model")[1].side:
        raise Conflict("train.crop", p.train.crop, "at least 32 while models.svm_deep_features.side is null")
    for key, found, allowed in (
        ("augment", p.augment, "none"),
        ("loss", p.loss, "softmax"),
        ("train.torchrun", p.train.torchrun, None),
    ):
        if found != allowed:
            raise Conflict(key, found, f"{allowed or 'null'} while model is svm_deep_features")
    if p.labels.rule == "distribution":
        raise Conflict(
            "labels.rule", "distribution", "plurality or majority while model is svm_deep_features"
        )
