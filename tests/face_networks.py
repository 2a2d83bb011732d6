"""Networks that were published with weights trained on faces, written anew in torch's functions.

Each has two functions of its tensors, which have the names of the published file: `*_shapes` returns their shapes, and
`*_features` computes the features of pixels that are scaled as the authors' own code does. `drawn` fills shapes with
random values.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def drawn(shapes: Shapes) -> Weights:
    """Return random weights, float32, that keep the size of what passes through; the last layer's are zeros."""
    torch.manual_seed(0)
    weights: Weights = {}
    for name, shape in shapes.items():
        if name.startswith(("fc.weight", "classifier")) and shape[0] in (1000, 8631, 8):
            weights[name] = torch.zeros(1).expand(shape)  # of which torch writes one value
        elif name.endswith("running_var"):
            weights[name] = torch.empty(shape).uniform_(0.5, 1.5)
        elif len(shape) == 1:
            scale = name.endswith("weight")
            weights[name] = torch.empty(shape).uniform_(*((0.5, 1.0) if scale else (-0.2, 0.2)))
        else:
            weights[name] = torch.randn(shape) * (2 / torch.Size(shape[1:]).numel()) ** 0.5
    return weights


def counted(shapes: Shapes, value: int = 7) -> Weights:
    """Return the counts of batches that torch keeps since version 0.4.1, by name."""
    return {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(value)
        for name in shapes
        if name.endswith("running_var")
    }


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.{end}": (width,) for end in ("weight", "bias", "running_mean", "running_var")}


def normed(w: Weights, maps: Tensor, name: str, eps: float = 1e-5) -> Tensor:
    """Return maps after the batch norm `name` in evaluation mode."""
    parts = (w[f"{name}.{end}"] for end in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(maps, *parts, eps=eps)


# ResNet-18 (He et al. 2016, table 1). `name` returns the file's name of a tensor of a group of blocks.


def sequence_name(name: str) -> str:
    """Return the name of a tensor in SCN's and DAN's networks, `nn.Sequential(*list(resnet.children()))`."""
    for place, module in (
        (0, "conv1"),
        (1, "bn1"),
        (4, "layer1"),
        (5, "layer2"),
        (6, "layer3"),
        (7, "layer4"),
    ):
        if name.startswith(f"{module}."):
            return name.replace(module, f"features.{place}", 1)
    return name


def resnet18_shapes(identities: int = 1000) -> Shapes:
    """Return the tensors of MS-Celeb's ResNet-18, as torchvision names them."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (f"layer{stage}.0", f"layer{stage}.1"):
            shapes |= {f"{block}.conv1.weight": (width, before, 3, 3), **_norm(f"{block}.bn1", width)}
            shapes |= {f"{block}.conv2.weight": (width, width, 3, 3), **_norm(f"{block}.bn2", width)}
            if before != width:
                shapes |= {f"{block}.downsample.0.weight": (width, before, 1, 1)}
                shapes |= _norm(f"{block}.downsample.1", width)
            before = width
    return shapes | {"fc.weight": (identities, 512), "fc.bias": (identities,)}


def resnet18_features(w: Weights, images: Tensor) -> Tensor:
    """Return 512 features of images that are scaled by ImageNet's mean and deviation."""
    maps = F.relu(normed(w, F.conv2d(images, w["conv1.weight"], stride=2, padding=3), "bn1"))
    maps = F.max_pool2d(maps, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for block in (f"layer{stage}.0", f"layer{stage}.1"):
            stride = 2 if f"{block}.downsample.0.weight" in w else 1
            inner = F.conv2d(maps, w[f"{block}.conv1.weight"], stride=stride, padding=1)
            inner = F.conv2d(F.relu(normed(w, inner, f"{block}.bn1")), w[f"{block}.conv2.weight"], padding=1)
            if stride == 2:
                maps = F.conv2d(maps, w[f"{block}.downsample.0.weight"], stride=2)
                maps = normed(w, maps, f"{block}.downsample.1")
            maps = F.relu(normed(w, inner, f"{block}.bn2") + maps)
    return maps.mean((2, 3))


# VGGFace2's ResNet-50 and SE-ResNet-50 (Cao et al. 2018) as in Caffe. The layers have the names of the authors' files
# for torch; `converted_name` gives those of the conversion to torchvision's names.

BLOCKS = {2: (64, 3), 3: (128, 4), 4: (256, 6), 5: (512, 3)}  # width and number of blocks of the groups
_CONVERTED = {
    "1x1_reduce": "conv1",
    "1x1_reduce_bn": "bn1",
    "3x3": "conv2",
    "3x3_bn": "bn2",
    "1x1_increase": "conv3",
    "1x1_increase_bn": "bn3",
    "1x1_down": "conv4",
    "1x1_up": "conv5",
    "1x1_proj": "downsample.0",
    "1x1_proj_bn": "downsample.1",
}


def converted_name(name: str) -> str:
    """Return the name in the files `resnet50_ft_weight.pkl` and `senet50_ft_weight.pkl`."""
    layer, _, end = name.rpartition(".")
    if layer in ("conv1_7x7_s2", "conv1_7x7_s2_bn", "classifier"):
        return {"conv1_7x7_s2": "conv1", "conv1_7x7_s2_bn": "bn1", "classifier": "fc"}[layer] + f".{end}"
    group, block, part = layer.split("_", 2)
    return f"layer{int(group[4:]) - 1}.{int(block) - 1}.{_CONVERTED[part]}.{end}"


def vggface2_shapes(squeezes: bool, identities: int = 8631) -> Shapes:
    """Return the tensors of VGGFace2's ResNet-50, or SE-ResNet-50 if `squeezes`. The last layer is a convolution."""
    shapes: Shapes = {"conv1_7x7_s2.weight": (64, 3, 7, 7), **_norm("conv1_7x7_s2_bn", 64)}
    before = 64
    for group, (width, blocks) in BLOCKS.items():
        for number in range(1, blocks + 1):
            block, wide = f"conv{group}_{number}", 4 * width
            parts = {"1x1_reduce": (width, before, 1, 1), "3x3": (width, width, 3, 3)}
            parts |= {"1x1_increase": (wide, width, 1, 1)}
            if number == 1:
                parts |= {"1x1_proj": (wide, before, 1, 1)}
            for part, shape in parts.items():
                shapes |= {f"{block}_{part}.weight": shape, **_norm(f"{block}_{part}_bn", shape[0])}
            if squeezes:
                for part, form in (("1x1_down", (wide // 16, wide)), ("1x1_up", (wide, wide // 16))):
                    shapes |= {f"{block}_{part}.weight": (*form, 1, 1), f"{block}_{part}.bias": form[:1]}
            before = wide
    return shapes | {"classifier.weight": (identities, 2048, 1, 1), "classifier.bias": (identities,)}


def vggface2_features(w: Weights, images: Tensor) -> Tensor:
    """Return 2048 features of pixels from 0 to 255 less the mean, in the order of colours that the weights expect."""

    def layer(maps: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = w[f"{name}.weight"]
        return normed(w, F.conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2), f"{name}_bn")

    maps = F.relu(layer(images, "conv1_7x7_s2", 2))
    maps = F.max_pool2d(maps, 3, 2, padding=0, ceil_mode=True)
    for group, (_, blocks) in BLOCKS.items():
        for number in range(1, blocks + 1):
            block, stride = f"conv{group}_{number}", 2 if number == 1 and group > 2 else 1
            inner = F.relu(layer(maps, f"{block}_1x1_reduce", stride))
            inner = layer(F.relu(layer(inner, f"{block}_3x3")), f"{block}_1x1_increase")
            if f"{block}_1x1_down.weight" in w:
                factor = F.avg_pool2d(inner, inner.shape[-1])
                for part, activation in (("1x1_down", torch.relu), ("1x1_up", torch.sigmoid)):
                    kernel, bias = (w[f"{block}_{part}.{end}"] for end in ("weight", "bias"))
                    factor = activation(F.conv2d(factor, kernel, bias))
                inner = factor * inner
            maps = F.relu(inner + (layer(maps, f"{block}_1x1_proj", stride) if number == 1 else maps))
    return F.avg_pool2d(maps, maps.shape[-1])[:, :, 0, 0]


# IResNet-50 and -100 in insightface's names (Deng et al. 2019, section 3.1).

DEPTHS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


def iresnet_shapes(depth: int) -> Shapes:
    """Return the tensors of ArcFace's `backbone.pth`."""
    shapes: Shapes = {"conv1.weight": (64, 3, 3, 3), **_norm("bn1", 64), "prelu.weight": (64,)}
    before = 64
    for group, (width, blocks) in enumerate(zip((64, 128, 256, 512), DEPTHS[depth], strict=True), 1):
        for block in (f"layer{group}.{number}" for number in range(blocks)):
            shapes |= {**_norm(f"{block}.bn1", before), f"{block}.conv1.weight": (width, before, 3, 3)}
            shapes |= {**_norm(f"{block}.bn2", width), f"{block}.prelu.weight": (width,)}
            shapes |= {f"{block}.conv2.weight": (width, width, 3, 3), **_norm(f"{block}.bn3", width)}
            if block.endswith(".0"):
                shapes |= {f"{block}.downsample.0.weight": (width, before, 1, 1)}
                shapes |= _norm(f"{block}.downsample.1", width)
            before = width
    shapes |= {**_norm("bn2", 512), "fc.weight": (512, 512 * 7 * 7), "fc.bias": (512,)}
    return shapes | _norm("features", 512)


def iresnet_features(w: Weights, images: Tensor) -> Tensor:
    """Return 512 features of images of 112 x 112 pixels from -1 to 1, red first."""
    maps = F.prelu(normed(w, F.conv2d(images, w["conv1.weight"], padding=1), "bn1"), w["prelu.weight"])
    for group in (1, 2, 3, 4):
        number = 0
        while f"layer{group}.{number}.conv1.weight" in w:
            block, stride = f"layer{group}.{number}", 1 if number else 2
            inner = F.conv2d(normed(w, maps, f"{block}.bn1"), w[f"{block}.conv1.weight"], padding=1)
            inner = F.prelu(normed(w, inner, f"{block}.bn2"), w[f"{block}.prelu.weight"])
            inner = normed(w, F.conv2d(inner, w[f"{block}.conv2.weight"], None, stride, 1), f"{block}.bn3")
            if stride == 2:
                maps = F.conv2d(maps, w[f"{block}.downsample.0.weight"], stride=2)
                maps = normed(w, maps, f"{block}.downsample.1")
            maps, number = inner + maps, number + 1
    flat = normed(w, maps, "bn2").reshape(len(images), -1)
    return normed(w, F.linear(flat, w["fc.weight"], w["fc.bias"]), "features")


# EfficientNet (Tan & Le 2019, table 1) as TensorFlow pads it, with timm's names.

# Expansion, kernel, stride, channels and blocks of each group.
GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SCALES = {"b0": (1.0, 1.0), "b2": (1.1, 1.2)}  # of width and depth


def _rounded(width: float) -> int:
    """Return a number of channels as a multiple of 8, at least 0.9 times the given one."""
    whole = max(8, int(width + 4) // 8 * 8)
    return whole + 8 if whole < 0.9 * width else whole


def efficientnet_shapes(name: str, classes: int | None = 8) -> Shapes:
    """Return the tensors of EmotiEffLib's EfficientNet; without the last layer if `classes` is None."""
    wide, deep = SCALES[name]
    before = _rounded(32 * wide)
    shapes: Shapes = {"conv_stem.weight": (before, 3, 3, 3), **_norm("bn1", before)}
    for group, (expand, kernel, _, channels, blocks) in enumerate(GROUPS):
        width = _rounded(channels * wide)
        for number in range(ceil(blocks * deep)):
            block, inner = f"blocks.{group}.{number}", before * expand
            if expand > 1:
                shapes |= {f"{block}.conv_pw.weight": (inner, before, 1, 1), **_norm(f"{block}.bn1", inner)}
            norm = "bn2" if expand > 1 else "bn1"
            shapes |= {
                f"{block}.conv_dw.weight": (inner, 1, kernel, kernel),
                **_norm(f"{block}.{norm}", inner),
            }
            squeezed = max(1, before // 4)
            for layer, form in (("conv_reduce", (squeezed, inner)), ("conv_expand", (inner, squeezed))):
                shapes |= {f"{block}.se.{layer}.weight": (*form, 1, 1), f"{block}.se.{layer}.bias": form[:1]}
            last = ("conv_pwl", "bn3") if expand > 1 else ("conv_pw", "bn2")
            shapes |= {
                f"{block}.{last[0]}.weight": (width, inner, 1, 1),
                **_norm(f"{block}.{last[1]}", width),
            }
            before = width
    head = _rounded(1280 * wide)
    shapes |= {"conv_head.weight": (head, before, 1, 1), **_norm("bn2", head)}
    if classes is None:
        return shapes
    return shapes | {"classifier.0.weight": (classes, head), "classifier.0.bias": (classes,)}


def _same(maps: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """Return a convolution with TensorFlow's padding: ceil(side / stride) positions, the odd pixel at the end."""
    kernel, side = weight.shape[-1], maps.shape[-1]
    total = max(0, (ceil(side / stride) - 1) * stride + kernel - side)
    padded = F.pad(maps, [total // 2, total - total // 2] * 2)
    return F.conv2d(padded, weight, stride=stride, groups=groups)


def efficientnet_features(w: Weights, images: Tensor) -> Tensor:
    """Return the features of square images that are scaled by ImageNet's mean and deviation."""

    def norm(maps: Tensor, name: str) -> Tensor:
        return normed(w, maps, name, eps=1e-3)

    maps = F.silu(norm(_same(images, w["conv_stem.weight"], 2), "bn1"))
    for group, (expand, _, stride, _, _) in enumerate(GROUPS):
        for block, first in _blocks(w, group):
            inner, names = maps, ["bn1", "conv_pw", "bn2"]
            if expand > 1:
                inner = F.silu(norm(F.conv2d(inner, w[f"{block}.conv_pw.weight"]), f"{block}.bn1"))
                names = ["bn2", "conv_pwl", "bn3"]
            depth = w[f"{block}.conv_dw.weight"]
            inner = _same(inner, depth, stride if first else 1, len(depth))
            inner = F.silu(norm(inner, f"{block}.{names[0]}"))
            factor = inner.mean((2, 3), keepdim=True)
            for layer, activation in (("conv_reduce", F.silu), ("conv_expand", torch.sigmoid)):
                factor = activation(
                    F.conv2d(factor, w[f"{block}.se.{layer}.weight"], w[f"{block}.se.{layer}.bias"])
                )
            inner = norm(F.conv2d(inner * factor, w[f"{block}.{names[1]}.weight"]), f"{block}.{names[2]}")
            maps = inner if first else inner + maps
    return F.silu(norm(F.conv2d(maps, w["conv_head.weight"]), "bn2")).mean((2, 3))


def _blocks(w: Weights, group: int) -> Iterator[tuple[str, bool]]:
    number = 0
    while f"blocks.{group}.{number}.conv_dw.weight" in w:
        yield f"blocks.{group}.{number}", number == 0
        number += 1
