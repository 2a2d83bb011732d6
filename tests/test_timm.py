"""The network `timm`: what timm itself computes, at the sizes that its networks can take."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from pipeline.core.errors import UserError
from pipeline.methods.models import Classifier
from pipeline.methods.optimizers import adamw
from pipeline.params.load import load
from pipeline.prediction.explain import layer, maps
from pipeline.stages import check
from tests import test_networks, toy
from tests.test_explain import classifier

import timm  # isort: skip - needs what parts/torchvision declares
from timm.optim import param_groups_layer_decay  # isort: skip

# How the networks hold their maps: in rows and columns, in the same with the channels last, in tokens of which one is a
# class, and in tokens whose mean counts.
NETWORKS = {
    "convnextv2_atto": (3, 3),
    "swin_tiny_patch4_window7_224": (4, 4),
    "vit_tiny_patch16_224": (7, 7),
    "eva02_tiny_patch14_224": (8, 8),
}


def network(name: str, **settings: Any) -> Classifier:
    return test_networks.network("timm", name=name, **settings)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_timms_and_maps_are_grad_cam(name: str) -> None:
    ours = network(name).eval()
    form = {} if name == "convnextv2_atto" else {"img_size": 112}
    theirs = timm.create_model(name, num_classes=0, in_chans=1, **form).eval()
    state = ours.state_dict()
    theirs.load_state_dict({t: state[n] for n, t in ours.names.items()}, strict=not form)
    ours.double(), theirs.double()
    images = torch.rand(2, 1, 48, 48, dtype=torch.float64)
    enlarged = F.interpolate((images - 0.5) / 0.25, (112, 112), mode="bilinear")
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(enlarged), pre_logits=True)
        torch.testing.assert_close(ours(images)[1], expected)

    # Equations 1 and 2 of the Grad-CAM paper, where the network still knows positions.
    trained = classifier(ours, "timm", 48)
    seen: list[torch.Tensor] = []
    stage = layer(trained)
    hook = stage.register_forward_hook(lambda _, __, out: seen.append(out))
    logits, _ = ours(images)
    hook.remove()
    assert seen[0].shape[2:] == NETWORKS[name]
    (gradients,) = torch.autograd.grad(logits[[0, 1], [2, 5]].sum(), seen[0])
    heat = torch.relu((gradients.mean((2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True)).detach()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear")[:, 0].float()
    found = torch.from_numpy(maps(trained, stage, images, torch.tensor([2, 5]))).float()
    torch.testing.assert_close(found, heat, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnextv2_atto"])
def test_frozen_groups_do_not_train(name: str) -> None:
    net = network(name, frozen=2, weights="of an earlier run").train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(net(torch.rand(2, 1, 48, 48))[0], torch.tensor([0, 1])).backward()
    optimizer.step()
    moved = {key for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])}
    first = (
        ("cls_token", "pos_embed", "patch_embed.", "blocks.0.") if "vit" in name else ("stem.", "stages.0.")
    )
    assert {key for key in net.state_dict() if key not in moved} == {
        key for key, theirs in net.names.items() if theirs.startswith(first)
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "convnextv3_tiny"},
            r"params.yaml: models.timm.name: found 'convnextv3_tiny', allowed: one of timm's \d+ networks "
            r"\(did you mean convnextv2_tiny\?\)",
        ),
        (
            {"name": "maxvit_tiny_tf_224"},
            r"params.yaml: models.timm.side: found 112, allowed: what maxvit_tiny_tf_224 can take, such as 96, 128, "
            r"224 \(.*window.*\)",
        ),
        ({"weights": "in22k"}, r"params.yaml: models.timm.weights: found 'in22k', allowed: null, fcmae"),
    ],
)
def test_what_timm_does_not_have_is_refused_before_anything_runs(
    project: Any, settings: dict[str, Any], message: str
) -> None:
    toy.write(project, model="timm", **{f"models.timm.{key}": value for key, value in settings.items()})
    with pytest.raises(UserError) as refused:
        check._check_weights(load())
    assert re.match(message, str(refused.value)), refused.value


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnextv2_atto"])
def test_layers_learn_at_the_rates_that_timm_gives_them(name: str) -> None:
    net = network(name)
    body = net.body[0].net
    settings = toy.settings("optimizer", "adamw", learning_rate=1.0, layer_decay=0.75)
    ours = {id(p): group["lr"] for group in adamw.build(settings, net).param_groups for p in group["params"]}
    groups = param_groups_layer_decay(body, layer_decay=0.75)
    theirs = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert {ours.pop(id(p)) for p in net.head.parameters()} == {1.0}
    # timm counts the head, which the body lacks, as part of its last layer.
    assert {key: rate / 0.75 for key, rate in ours.items()} == pytest.approx(theirs)
