"""Any network of timm that maps a face to features, such as ConvNeXt V2, ViT, Swin or MobileNetV4."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import UserError, one_line
from pipeline.methods.models import SCALINGS, Classifier, Published, shapes_of
from pipeline.params.models import TimmSettings
from pipeline.params.types import hint

import timm as library  # isort: skip
from timm.models._manipulate import group_modules, group_parameters  # isort: skip

KEY = "params.yaml: models.timm"


class Maps(nn.Module):
    """Passes activations on. `seen` has them as maps [n, D, h, w], from which class-activation maps are computed.

    Args:
        layout: of the activations. `NCHW`; `NHWC`; or `tokens` [n, T, D], of which the last are the positions of a
            square and the first, such as a class token, are none.
    """

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout, self.seen = layout, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations as they are."""
        if self.layout == "NCHW":
            return self.seen(x)
        if self.layout == "NHWC":
            return self.seen(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        side = math.isqrt(x.shape[1])
        first = x.shape[1] - side**2
        maps = self.seen(x[:, first:].transpose(1, 2).unflatten(2, (side, side)))
        return torch.cat([x[:, :first], maps.flatten(2).transpose(1, 2)], 1)


class Features(nn.Module):
    """A network of timm without its last layer.

    Args:
        net: the network.
        side: side to which faces are resized, in pixels.
    """

    def __init__(self, net: Any, side: int) -> None:
        super().__init__()
        self.net, self.side = net, side
        self.maps: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map scaled faces, float [N, C, H, W], to features [N, D]."""
        if images.shape[2] != self.side:
            images = F.interpolate(
                images, (self.side, self.side), mode="bilinear", antialias=images.shape[2] > self.side
            )
        maps = self.maps(self.net.forward_features(images))
        return self.net.forward_head(maps, pre_logits=True)


def timm(settings: TimmSettings, classes: int, channels: int) -> Classifier:
    """Return the network `name` of timm, with its own pooling, for faces of any size.

    Faces are resized to `side`. A name that timm does not have, a side that the network cannot take, and a `drop_path`
    for a network without stochastic depth are refused with a `UserError`.
    """
    net = _built(settings, channels)
    body = Features(net, settings.side)
    # Of a transformer, the first norm of the last block: after it, only the class token may count.
    blocks = getattr(net, "blocks", None)
    last: Any = blocks[-1] if isinstance(blocks, nn.Sequential | nn.ModuleList) else None
    watched: list[nn.Module] = [body, body.maps, *([last.norm1] if hasattr(last, "norm1") else [])]
    face = next(body.parameters()).new_zeros(1, channels, settings.side, settings.side)
    try:
        (_, width), maps, *norm = shapes_of(watched, body.eval(), face)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _refused_side(settings, error) from None
    body.train()
    top = [nn.Linear(width, settings.extra)] if settings.extra else []
    network = Classifier(nn.Sequential(body, *top), settings.extra or width, classes, settings.dropout)
    network.located = _located(body, maps, last, *norm)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers = group_parameters(net, net.group_matcher(coarse=False))
    network.grouped = [[net.get_parameter(name) for name in layers[place]] for place in sorted(layers)]
    _freeze(network, net, settings.frozen)
    _scale(network, net, settings.scaling, channels)
    network.name_as(net)
    architecture = settings.name.partition(".")[0]
    tags = [name.partition(".")[2] for name in library.list_pretrained(f"{architecture}.*")]
    network.published = Published(
        tuple(tags), lambda tag: _built(settings, channels, f"{architecture}.{tag}").state_dict()
    )
    return network


def _built(settings: TimmSettings, channels: int, pretrained: str = "") -> Any:
    """Return timm's network without its last layer, with fresh weights or those called `pretrained`."""
    name = pretrained or settings.name
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels, "pretrained": bool(pretrained)}
    if settings.drop_path:
        options["drop_path_rate"] = settings.drop_path
    if not library.is_model(name):
        known = library.list_models()
        raise UserError.of(
            f"{KEY}.name", repr(name), f"one of timm's {len(known)} networks{hint(name, known)}"
        )
    try:
        # Transformers and what else depends on the size of its input.
        return library.create_model(name, **options, img_size=settings.side)
    except TypeError:
        pass  # Others know no such option.
    except (AssertionError, ValueError, RuntimeError) as error:
        raise _refused_side(settings, error) from None
    try:
        return library.create_model(name, **options)
    except TypeError:
        raise UserError.of(
            f"{KEY}.drop_path", settings.drop_path, f"0: {name} has no stochastic depth"
        ) from None


def _located(
    body: Features, maps: torch.Size, last: Any, norm: torch.Size = torch.Size()
) -> nn.Module | None:
    """Insert `Maps` where the network still knows positions, and return its `seen`; None if there is no such place.

    Args:
        body: the network.
        maps: shape of its maps.
        last: its last block.
        norm: shape of that block's first norm, if it has one.
    """
    if len(maps) == 4:
        body.maps = found = Maps("NCHW" if maps[1] == body.net.num_features else "NHWC")
        return found.seen
    if len(norm) == 3:
        positions = norm[1] - getattr(body.net, "num_prefix_tokens", 0)
        if math.isqrt(positions) ** 2 == positions:
            tokens = Maps("tokens")
            last.norm1 = nn.Sequential(last.norm1, tokens)
            return tokens.seen
    return None


def _freeze(network: Classifier, net: Any, groups: int) -> None:
    """Freeze the first `groups` groups of layers as timm groups them: the stem, then stages or blocks."""
    if not groups:
        return
    matcher = net.group_matcher(coarse=True)
    modules, parameters = group_modules(net, matcher), group_parameters(net, matcher)
    first = sorted(parameters)[:groups]
    named = [net.get_submodule(name) for group in first for name in modules.get(group, [])]
    network.freeze([module for module in named if not list(module.children())])
    for name in (
        name for group in first for name in parameters[group]
    ):  # some are of no module, as class tokens are
        net.get_parameter(name).requires_grad_(False)


def _scale(network: Classifier, net: Any, scaling: str, channels: int) -> None:
    """Scale faces as `scaling` says; `timm`: as the network's weights expect."""
    configured = net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
    network.scale(configured if scaling == "timm" else SCALINGS[scaling], grey=channels == 1)


def _refused_side(settings: TimmSettings, error: Exception) -> UserError:
    own = library.get_pretrained_cfg(settings.name).input_size[-1]
    close = sorted({settings.side // 32 * 32, -(-settings.side // 32) * 32, own} - {settings.side, 0})
    return UserError.of(
        f"{KEY}.side",
        settings.side,
        f"what {settings.name} can take, such as {', '.join(map(str, close))} ({one_line(error)})",
    )
