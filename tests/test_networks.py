"""Networks: the fast weight gradient equals torch's, and the families have their published shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.methods.models import Classifier
from pipeline.methods.models.booster import AccuracyBooster
from pipeline.methods.models.parts.convolution import Convolution
from pipeline.methods.models.parts.grid import AverageToGrid
from pipeline.methods.models.parts.torchvision import models
from pipeline.params.methods import choices
from tests import toy

import timm  # isort: skip - needs what parts/torchvision declares


def network(name: str, /, colour: bool = False, classes: int = 8, **settings: Any) -> Classifier:
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
        ours = network(name, colour=True, classes=1000, **settings)
        theirs = timm.create_model("seresnet50") if name == "se_resnet50" else getattr(models, name)()
    assert weights(ours) == weights(theirs)
    assert weights(ours) / 1e6 == pytest.approx(millions, rel=1e-3)
    # The library's weights fill all but the last layer.
    left = [key for key in theirs.state_dict() if key not in ours.names.values()]
    assert [theirs.state_dict()[key].shape[0] for key in left] == [1000, 1000]


@pytest.mark.parametrize(
    ("name", "blocks", "shortcuts"),
    [
        ("resnet18_booster", {64: 2, 128: 2, 256: 2, 512: 2}, {64: 128, 128: 256, 256: 512}),
        ("resnet50_booster", {256: 3, 512: 4, 1024: 6, 2048: 3}, {64: 256, 256: 512, 512: 1024, 1024: 2048}),
    ],
)
def test_the_papers_changes_add_and_remove_weights(
    name: str, blocks: dict[int, int], shortcuts: dict[int, int]
) -> None:
    # Table 1 of the residual convnet paper: 2 + 2 + 2 + 2 and 3 + 4 + 6 + 3 blocks, a 7x7 stem, 8 classes.
    plus = sum(count * (width**2 + 2 * width) for width, count in blocks.items())
    depthwise = sum(count * 3 * width for width, count in blocks.items())
    skips = sum((narrow + 2) * wide for narrow, wide in shortcuts.items())
    with torch.device("meta"):
        plain = weights(network(name.removesuffix("_booster"), stem="standard"))
        boosted, small = network(name), network(name, mish=False, booster="depthwise")
        mish, cnn = network(name, booster="none"), network(name, mish=False, booster="none", skip=False)
    assert [weights(net) - plain for net in (boosted, small, mish, cnn)] == [plus, depthwise, 0, -skips]
    assert boosted.body[0].kernel_size == (7, 7)
    for net, other in ((boosted, nn.ReLU), (mish, nn.ReLU), (small, nn.Mish), (cnn, nn.Mish)):
        assert not any(isinstance(m, other) for m in net.modules())


@pytest.mark.parametrize("depthwise", [False, True])
def test_the_booster_is_the_papers_formula(depthwise: bool) -> None:
    torch.manual_seed(0)
    booster = AccuracyBooster(6, depthwise)
    with torch.no_grad():
        booster.norm.weight.uniform_(0.5, 2)
        booster.norm.bias.uniform_(-1, 1)
    maps = torch.randn(5, 6, 4, 3)
    u, kernel = maps.double().numpy(), booster.conv.weight.detach().double().numpy()[:, :, 0, 0]
    # A depthwise convolution is a full one whose matrix is diagonal.
    mean = u.mean((2, 3)) @ (np.diag(kernel[:, 0]) if depthwise else kernel.T)
    normed = (mean - mean.mean(0)) / np.sqrt(mean.var(0) + 1e-5)
    normed = normed * booster.norm.weight.detach().numpy() + booster.norm.bias.detach().numpy()
    expected = u / (1 + np.exp(-normed))[:, :, None, None]
    np.testing.assert_allclose(booster(maps).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def plain_resnet18(w: dict[str, torch.Tensor], maps: torch.Tensor, skip: bool, mish: bool) -> torch.Tensor:
    """Return the features of figure 4a and table 1 of the residual convnet paper, in torch's functions alone."""

    def norm(maps: torch.Tensor, name: str) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(maps, *(w[f"{name}.{end}"] for end in names))

    activation = F.mish if mish else F.relu
    maps = activation(norm(F.conv2d(maps, w["body.0.weight"], stride=2, padding=3), "body.1"))
    maps = F.max_pool2d(maps, 3, 2, 1)
    for stage, number in ((stage, number) for stage in range(4, 8) for number in range(2)):
        block, stride = f"body.{stage}.{number}", 2 if stage > 4 and number == 0 else 1
        branch = F.conv2d(maps, w[f"{block}.conv1.weight"], stride=stride, padding=1)
        branch = F.conv2d(activation(norm(branch, f"{block}.bn1")), w[f"{block}.conv2.weight"], padding=1)
        branch = norm(branch, f"{block}.bn2")
        kernel = w.get(f"{block}.bn2.booster.conv.weight")
        if kernel is not None:
            matrix = kernel[:, :, 0, 0] if kernel.shape[1] > 1 else kernel[:, 0, 0, 0].diag()
            means = (branch.mean((2, 3)) @ matrix.T)[:, :, None, None]
            branch = branch * norm(means, f"{block}.bn2.booster.norm").sigmoid()
        if skip and stride == 2:
            maps = norm(F.conv2d(maps, w[f"{block}.downsample.0.weight"], stride=2), f"{block}.downsample.1")
        maps = activation(branch + maps if skip else branch)
    return maps.mean((2, 3))


@pytest.mark.parametrize(
    ("skip", "mish", "booster"),
    [(True, True, "plus"), (True, True, "depthwise"), (False, False, "none"), (False, True, "plus")],
)
def test_the_papers_networks_are_those_of_its_figure(skip: bool, mish: bool, booster: str) -> None:
    torch.manual_seed(0)
    net = network("resnet18_booster", skip=skip, mish=mish, booster=booster, scaling="unit").eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_var, module.weight):
                    tensor.uniform_(0.5, 1.5)
                for tensor in (module.running_mean, module.bias):
                    tensor.normal_(0, 0.2)
        faces = torch.rand(2, 1, 64, 64)
        expected = plain_resnet18(net.state_dict(), faces, skip, mish)
        torch.testing.assert_close(net(faces)[1], expected, rtol=1e-3, atol=1e-4)


def drawn(layer: nn.Module) -> None:
    """Draw a layer's weights as the library does."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(layer.bias)


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "densenet121", "efficientnet_b0", "vgg13"])
def test_with_the_librarys_weights_the_features_are_the_librarys(name: str) -> None:
    standard = {"top": "small", "batch_norm": False} if name == "vgg13" else {"stem": "standard"}
    ours = network(name, colour=True, **standard).eval()
    if name == "vgg13":
        with torch.device("meta"):  # without half a gigabyte of layers that are not used
            library = models.vgg13()
        library.features.to_empty(device="cpu").apply(drawn)
    else:
        library = timm.create_model("seresnet50") if name == "se_resnet50" else getattr(models, name)()
    library.eval()
    theirs = library.state_dict()
    ours.load_state_dict({n: theirs[t] for n, t in ours.names.items()}, strict=False)
    ours.double(), library.double()  # float32 rounds differently on each processor
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
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
@pytest.mark.parametrize(
    ("scaling", "mean", "deviation"),
    [
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("unit", [0, 0, 0], [1, 1, 1]),  # MixAugment paper, section 4.3: "normalized to the range [0, 1]"
    ],
)
def test_faces_are_scaled_as_named(
    scaling: str, mean: list[float], deviation: list[float], colour: bool
) -> None:
    net = network("light", colour, scaling=scaling)
    net.body, net.head = nn.Identity(), nn.Identity()
    images = torch.rand(2, 3 if colour else 1, 4, 4)
    means, deviations = (np.array(values)[:, None, None] for values in (mean, deviation))
    if not colour:
        means, deviations = means.mean(keepdims=True), deviations.mean(keepdims=True)
    expected = (images.numpy() - means) / deviations
    np.testing.assert_allclose(net(images)[1].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_members_of_fast_learn_alone_and_their_logits_are_averaged() -> None:
    together = network("fast", width=16, members=3)
    together.head.bias.data.zero_()
    alone = [network("fast", width=16) for _ in range(3)]
    stored = together.state_dict()
    for i, one in enumerate(alone):
        own = {f"body.{k.split('.', 4)[-1]}": v for k, v in stored.items() if f".networks.{i}." in k}
        head = {"head.weight": stored["head.weight"].chunk(3, 1)[i], "head.bias": stored["head.bias"]}
        one.load_state_dict(own | head)
    faces, labels = torch.rand(14, 1, 44, 44), torch.arange(14) % 8
    parts = list(zip(faces.tensor_split(3), labels.tensor_split(3), strict=True))
    F.cross_entropy(together(faces)[0], labels, reduction="sum").backward()
    for one, (some, classes) in zip(alone, parts, strict=True):
        F.cross_entropy(one(some)[0], classes, reduction="sum").backward()
    first = [one.body[0].weight for one in alone]
    theirs = [layer[0].weight for layer in together.body[0].networks]
    for ours, single in zip(theirs, first, strict=True):
        torch.testing.assert_close(ours.grad, single.grad, rtol=1e-3, atol=1e-5)
    gradients = torch.cat([one.head.weight.grad for one in alone], 1)
    torch.testing.assert_close(together.head.weight.grad, gradients)
    with torch.no_grad():
        mean = torch.stack([one.eval()(faces)[0] for one in alone]).mean(0)
        torch.testing.assert_close(together.eval()(faces)[0], mean)
        # A batch that is too small for all members is left to the first ones.
        assert together.train()(faces[:3])[0].shape == (3, 8)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_members_that_learn_at_once_learn_the_same_to_the_last_bit() -> None:
    faces, labels = torch.rand(24, 1, 44, 44), torch.arange(24) % 8
    together = network("fast", width=16, members=3).train()
    gradients = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        together.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits, _ = together(faces)
        F.cross_entropy(logits.float(), labels).backward()
        gradients.append([weight.grad.clone() for weight in together.parameters()])
    assert all(map(torch.equal, *gradients))


@pytest.mark.usefixtures("two_threads")
def test_members_may_be_frozen_be_more_than_the_faces_and_give_the_gradients_of_images() -> None:
    images = torch.rand(14, 1, 44, 44, requires_grad=True)
    together = network("fast", width=16, members=3).train()
    together(images)[0].sum().backward()
    assert images.grad.abs().sum(dim=(1, 2, 3)).min() > 0
    together.zero_grad()
    together(images.detach()[:3])[0].sum().backward()
    learnt = {
        name.split(".")[2] for name, weight in together.body.named_parameters() if weight.grad is not None
    }
    assert learnt == {"0"}
    together.zero_grad()
    together.body.requires_grad_(False)
    together(images.detach())[0].sum().backward()
    assert together.head.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in together.body.parameters())
