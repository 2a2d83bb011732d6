"""Networks: the fast weight gradient equals torch's, and the families have their published shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.methods.models import Classifier
from pipeline.methods.models.booster import AccuracyBoosterPlus
from pipeline.methods.models.parts.convolution import Convolution
from pipeline.methods.models.parts.torchvision import models
from pipeline.methods.models.parts.vgg import AverageToGrid
from pipeline.params.methods import choices
from tests import toy

import timm  # isort: skip - needs what parts/torchvision declares


def network(name: str, colour: bool = False, classes: int = 8, **settings: Any) -> Classifier:
    p = toy.PARAMS
    block = type(getattr(p.models, name)).model_validate(getattr(p.models, name).model_dump() | settings)
    update = {"model": name, "models": p.models.model_copy(update={name: block})}
    update |= {
        "align": p.align.model_copy(update={"colour": colour}),
        "classes": [str(k) for k in range(classes)],
    }
    return toy.network(p.model_copy(update=update))


def weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_those_of_torch(stride: int, kernel: int, size: int, bias: bool) -> None:
    torch.manual_seed(0)
    ours = Convolution(32, 48, kernel, stride, kernel // 2, bias=bias)
    theirs = nn.Conv2d(32, 48, kernel, stride, kernel // 2, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(8, 32, size * stride, size * stride).contiguous(memory_format=torch.channels_last)
    for module, precision in ((ours, torch.bfloat16), (theirs.double(), None)):
        given = images.clone().requires_grad_()
        if precision:
            with torch.autocast("cpu", precision):
                maps = module(given)
        else:
            given = images.double().requires_grad_()
            maps = module(given)
        # A gradient that differs between positions, exact in bfloat16.
        maps.backward((torch.arange(maps.numel()).reshape(maps.shape) % 7 - 3).to(maps.dtype))
        module.seen = [given.grad, *(p.grad for p in module.parameters())]
    assert ours._by_product(images) is False, "outside autocast the library's own is used"
    for mine, exact in zip(ours.seen, theirs.seen, strict=True):
        assert (mine.double() - exact).norm() / exact.norm() < 1e-2


def test_float32_and_scoring_take_the_librarys_path() -> None:
    module = Convolution(8, 8, 3, padding=1)
    images = torch.randn(2, 8, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert module._by_product(images)
        assert not module._by_product(torch.randn(2, 8, 20, 20)), "large maps"
        with torch.no_grad():
            assert not module._by_product(images)


# Millions of weights for ImageNet's 1000 classes: VGG and EfficientNet, table 2 of their papers; DenseNet, its authors'
# repository; the others as torchvision and timm count them.
@pytest.mark.parametrize(
    ("name", "settings", "millions"),
    [
        ("vgg13", {"top": "standard", "batch_norm": False}, 133.0),
        ("vgg16", {"top": "standard", "batch_norm": False}, 138.4),
        ("resnet18", {"stem": "standard"}, 11.69),
        ("resnet50", {"stem": "standard"}, 25.56),
        ("se_resnet50", {"stem": "standard"}, 28.09),
        ("densenet121", {"stem": "standard"}, 7.98),
        ("efficientnet_b0", {"stem": "standard"}, 5.29),
    ],
)
def test_networks_have_the_published_number_of_weights(
    name: str, settings: dict[str, Any], millions: float
) -> None:
    with torch.device("meta"):
        ours = weights(network(name, colour=True, classes=1000, **settings))
        theirs = weights(
            timm.create_model("seresnet50") if name == "se_resnet50" else getattr(models, name)()
        )
    assert ours == theirs
    assert ours / 1e6 == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18_booster", {64: 2, 128: 2, 256: 2, 512: 2}),
        ("resnet50_booster", {256: 3, 512: 4, 1024: 6, 2048: 3}),
    ],
)
def test_boosters_add_a_square_matrix_and_a_norm_to_each_block(name: str, blocks: dict[int, int]) -> None:
    # Table 1 of the residual convnet paper: 2 + 2 + 2 + 2 and 3 + 4 + 6 + 3 blocks, a 7x7 stem, 8 classes.
    with torch.device("meta"):
        boosted, plain = network(name), network(name.removesuffix("_booster"), stem="standard")
    added = sum(count * (width**2 + 2 * width) for width, count in blocks.items())
    assert weights(boosted) - weights(plain) == added
    assert not any(isinstance(m, nn.ReLU) for m in boosted.modules())
    assert boosted.body[0].kernel_size == (7, 7)
    with torch.device("meta"):
        mish, booster = network(name, booster=False), network(name, mish=False)
    assert (weights(mish) - weights(plain), weights(booster) - weights(plain)) == (0, added)
    assert not any(isinstance(m, nn.ReLU) for m in mish.modules())
    assert not any(isinstance(m, nn.Mish) for m in booster.modules())


def test_the_booster_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    booster = AccuracyBoosterPlus(6)
    with torch.no_grad():
        booster.norm.weight.uniform_(0.5, 2)
        booster.norm.bias.uniform_(-1, 1)
    maps = torch.randn(5, 6, 4, 3)
    u, matrix = maps.double().numpy(), booster.conv.weight.detach().double().numpy()[:, :, 0, 0]
    mean = u.mean((2, 3)) @ matrix.T
    normed = (mean - mean.mean(0)) / np.sqrt(mean.var(0) + 1e-5)
    normed = normed * booster.norm.weight.detach().numpy() + booster.norm.bias.detach().numpy()
    expected = u / (1 + np.exp(-normed))[:, :, None, None]
    np.testing.assert_allclose(booster(maps).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_boosted_block_scales_its_branch_before_the_shortcut_and_mish() -> None:
    torch.manual_seed(0)
    block = network("resnet18_booster").body[4][0].eval()
    maps = torch.randn(2, 64, 5, 5)
    branch = block.conv2(F.mish(F.batch_norm(block.conv1(maps), *_norm(block.bn1))))
    branch = F.batch_norm(branch, *_norm(block.bn2))
    torch.testing.assert_close(block(maps), F.mish(maps + block.bn2.booster(branch)))


def _norm(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, ...]:
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "densenet121", "efficientnet_b0", "vgg13"])
def test_with_the_librarys_weights_the_features_are_the_librarys(name: str) -> None:
    standard = {"top": "small", "batch_norm": False} if name == "vgg13" else {"stem": "standard"}
    ours = network(name, colour=True, **standard).eval()
    library = (timm.create_model("seresnet50") if name == "se_resnet50" else getattr(models, name)()).eval()
    theirs = library.state_dict()
    ours.load_state_dict({n: theirs[t] for n, t in ours.names.items()}, strict=False)
    images = torch.rand(2, 3, 64, 64)
    scaled = (images - 0.5) / 0.25
    if name == "se_resnet50":
        maps = library.forward_features(scaled)
    elif name == "resnet50":
        library.fc = nn.Identity()
        maps = library(scaled)[:, :, None, None]
    else:
        maps = library.features(scaled)
    maps = F.relu(maps) if name == "densenet121" else maps
    torch.testing.assert_close(ours(images)[1], maps.mean((2, 3)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in choices("model") if not name.startswith(("vgg", "svm"))])
@pytest.mark.parametrize("colour", [False, True])
def test_small_faces_grey_or_rgb_give_logits_and_features_of_the_extra_length(
    name: str, colour: bool
) -> None:
    logits, features = network(name, colour, classes=3, extra=12)(torch.rand(2, 3 if colour else 1, 32, 32))
    assert (logits.shape, features.shape) == ((2, 3), (2, 12))


@pytest.mark.parametrize("side", [1, 2, 3, 7, 10, 14])
def test_average_to_grid_is_torchs_adaptive_pooling(side: int) -> None:
    maps = torch.randn(2, 3, side, side + 1)
    torch.testing.assert_close(AverageToGrid()(maps), F.adaptive_avg_pool2d(maps, 7))


@pytest.mark.parametrize(
    ("name", "frozen", "prefixes"),
    [
        ("resnet18", 3, ("body.0.", "body.1.", "body.3.", "body.4.")),
        ("densenet121", 1, ("body.0.", "body.1.")),
        ("efficientnet_b0", 2, ("body.0.", "body.1.")),
        ("vgg19_fer", 1, tuple(f"body.{i}." for i in range(7))),
    ],
)
def test_frozen_stages_keep_weights_and_statistics(name: str, frozen: int, prefixes: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = network(name, frozen=frozen, weights="of an earlier run")
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.eval()
    net.train()  # as after a validation
    logits, _ = net(torch.rand(4, 1, 32, 32))
    F.cross_entropy(logits, torch.arange(4)).backward()
    optimizer.step()
    for key, tensor in net.state_dict().items():
        if key.startswith(prefixes):
            assert torch.equal(tensor, before[key]), key
        elif key.endswith(("num_batches_tracked", "running_var")):
            assert not torch.equal(tensor, before[key]), key
    assert not torch.equal(net.head.weight, before["head.weight"])


@pytest.mark.parametrize("colour", [False, True])
def test_faces_are_scaled_as_imagenet_was(colour: bool) -> None:
    net = network("resnet18", colour, scaling="imagenet")
    net.body = nn.Identity()
    net.head = nn.Identity()
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    if not colour:
        mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
    images = torch.rand(2, len(mean), 4, 4)
    expected = (images.numpy() - mean[:, None, None]) / deviation[:, None, None]
    np.testing.assert_allclose(net(images)[1].numpy(), expected, rtol=1e-5, atol=1e-6)
