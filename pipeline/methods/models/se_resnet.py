"""Squeeze-and-excitation residual networks (Hu et al. 2018) from timm."""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.models import Classifier, Published, assemble
from pipeline.methods.models.parts.residual import as_in_caffe, stages
from pipeline.params.models import SEResNetSettings

import timm  # isort: skip


def se_resnet50(settings: SEResNetSettings, classes: int, channels: int) -> Classifier:
    """Return SE-ResNet-50 with 2048 features, the body of the weighted-cluster paper.

    The paper freezes stages 1 to 3 (`frozen: 3`: the stem and two groups of blocks) and adds a layer of 512 units
    (`extra: 512`), whose output is the x of its loss. With `caffe: true` it is the network that was trained on VGGFace2
    (Cao et al. 2018), see docs/weights.md.
    """
    net = timm.create_model("seresnet50")
    if settings.caffe:
        as_in_caffe(net)
    parts = stages(net, net.act1, settings.stem, channels)
    tags = [name.split(".")[1] for name in timm.list_pretrained("seresnet50.*")]
    # timm's weights were trained with the strides elsewhere.
    published = Published() if settings.caffe else Published(tuple(tags), _fetch)
    return assemble(settings, classes, parts, 2048, net, published)


def _fetch(tag: str) -> dict[str, Tensor]:
    return timm.create_model(f"seresnet50.{tag}", pretrained=True).state_dict()
