"""Networks, losses, penalty, augmentation and training of the GANs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import UserError
from pipeline.methods.gans import GAN, Generator, cgan, dcgan, from_faces, repeat, to_faces, wgan_gp
from pipeline.methods.gans.parts import adversarial
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.synthesis import diffaugment, trainer
from pipeline.synthesis.collapse import COLLAPSED_EPOCHS
from pipeline.synthesis.generators import GanSetup, fit_generators, generators_of
from pipeline.synthesis.penalty import gradient_penalty
from pipeline.synthesis.task import GanTask
from pipeline.synthesis.trainer import GanTrainer
from pipeline.synthesis.workers import TaskResult, train_tasks
from pipeline.training import checkpoint
from tests import forked, toy

CPU = torch.device("cpu")
METHODS = {"dcgan": dcgan, "wgan_gp": wgan_gp, "cgan": cgan}
COMMON = {
    "epochs": 3,
    "least_steps": 0,
    "batch_size": 8,
    "learning_rate": 2e-4,
    "latent": 8,
    "width": 8,
    "ema": 0.9,
    "mirror": True,
    "diffaugment": ["colour", "translation", "cutout"],
    "diffaugment_below": 1000,
}
OWN: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "wgan_gp": {"penalty": 10.0, "critic_steps": 2},
    "cgan": {
        "penalty": 1.0,
        "condition": "projection",
        "mismatched": 0.25,
        "loss": "wasserstein",
        "critic_steps": 2,
    },
}


def task(folder: Path, method: str = "dcgan", **changes: Any) -> GanTask:
    """Return a task on 20 faces of 16 pixels, with two classes if the GAN is conditional."""
    module = METHODS[method]
    faces = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), np.uint8)
    labels = np.arange(20) % 2 if module.CONDITIONAL else np.zeros(20, np.int64)
    settings = toy.settings("gan", method, **(COMMON | OWN[method] | changes))
    classes = 2 if module.CONDITIONAL else 1
    return GanTask(
        "fear",
        faces,
        labels,
        classes,
        module.build,
        settings,
        1,
        torch.float32,
        folder / "state.safetensors",
        1e9,
    )


def trained(of: GanTask) -> TaskResult:
    return train_tasks([of], CPU, 1, "test")[0]


def assert_same(one: TaskResult, other: TaskResult) -> None:
    for name, values in one.weights.items():
        np.testing.assert_array_equal(values, other.weights[name], name)
    assert one.progress == other.progress
    np.testing.assert_array_equal(one.shown, other.shown)


# ------------------------------------------------------------------------------------------------- networks


def test_faces_survive_the_way_to_the_network_and_back() -> None:
    faces = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_faces(from_faces(faces)), faces.numpy())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 32, 45, 48, 64, 100, 127, 128])
def test_networks_make_and_take_faces_of_any_side(size: int, channels: int) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1])
    images = Decoder(16, size, channels, 4, 2)(torch.randn(2, 16), labels)
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    for condition in ("projection", "concatenation"):
        assert Critic(size, channels, 4, "layer", 2, condition)(images, labels).shape == (2,)


def test_weights_begin_as_published() -> None:
    torch.manual_seed(0)
    decoder, critic = Decoder(64, 48, 1, 32), Critic(48, 1, 32)
    for network in (decoder, critic):
        weights = torch.cat([m.weight.flatten() for m in network.modules() if hasattr(m, "kernel_size")])
        assert weights.std().item() == pytest.approx(0.02, rel=0.02)
        assert abs(weights.mean().item()) < 1e-3
        scales = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
        assert scales.mean().item() == pytest.approx(1, abs=0.01)
        assert scales.std().item() == pytest.approx(0.02, rel=0.2)
    # No batch norm at the generator's output and the critic's input (section 3 of the paper).
    assert isinstance(decoder.layers[-1], nn.Tanh)
    assert isinstance(critic.layers[1], nn.LeakyReLU)


def test_the_published_sides_have_the_published_shape() -> None:
    # 64 x 64 from 4 x 4 with kernels of 4: the parameters of the PyTorch example, plus the biases of the last layers.
    decoder, critic = Decoder(100, 64, 3, 64), Critic(64, 3, 64)
    assert sum(p.numel() for p in decoder.parameters()) == 3_576_704 + 3
    assert sum(p.numel() for p in critic.parameters()) == 2_765_568 + 64 + 1
    # Figure 1 of the DCGAN paper: noise of length 100 becomes 4 x 4 x 1024, then 512, 256 and 128 channels.
    with torch.device("meta"):
        layers = Decoder(100, 64, 3, 128).layers
    assert [n.num_features for n in layers if isinstance(n, nn.BatchNorm2d)] == [1024, 512, 256, 128]
    assert layers[0].weight.shape == (100, 1024, 4, 4)


@pytest.mark.parametrize("method", ["wgan_gp", "cgan"])
def test_a_score_under_a_penalty_depends_on_its_own_face_alone(method: str, tmp_path: Path) -> None:
    critic = GanTrainer(task(tmp_path, method), CPU).critic.train()
    faces, labels = torch.randn(4, 1, 16, 16), torch.zeros(4, dtype=torch.int64)
    others = torch.cat([faces[:1], 5 * torch.randn(3, 1, 16, 16)])
    torch.testing.assert_close(critic(faces, labels)[0], critic(others, labels)[0])


@pytest.mark.parametrize("condition", ["projection", "concatenation"])
def test_a_class_changes_faces_and_scores(condition: str, tmp_path: Path) -> None:
    training = GanTrainer(task(tmp_path, "cgan", condition=condition), CPU)
    noise, faces = torch.randn(2, 8), torch.randn(2, 1, 16, 16)
    for network, input_ in ((training.generator, noise), (training.critic, faces)):
        first, second = (network(input_, torch.full((2,), label)) for label in (0, 1))
        assert not torch.allclose(first, second)


# --------------------------------------------------------------------------------------------------- penalty


def by_differences(
    critic: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, shares: Tensor
) -> float:
    """Return the penalty from central differences, pixel by pixel and face by face."""
    total, step = 0.0, 1e-5
    for one, other, share in zip(real, generated, shares, strict=True):
        mixed = share * one + (1 - share) * other
        squared = 0.0
        for place in range(mixed.numel()):
            shift = torch.zeros(mixed.numel(), dtype=torch.float64)
            shift[place] = step
            up, down = (critic((mixed + s * shift.view_as(mixed))[None]).item() for s in (1, -1))
            squared += ((up - down) / (2 * step)) ** 2
        total += (squared**0.5 - 1) ** 2
    return total / len(real)


def test_a_small_class_is_trained_for_as_many_steps_as_it_needs(tmp_path: Path) -> None:
    # 20 faces in batches of 8 are three steps an epoch.
    assert task(tmp_path, epochs=3, least_steps=9).epochs() == 3
    few = task(tmp_path, epochs=3, least_steps=10)
    assert (few.epochs(), few.steps()) == (4, 12)
    assert len(trained(few).progress.history) == 4


@pytest.mark.parametrize("method", ["wgan_gp", "cgan"])
def test_the_penalty_is_that_of_finite_differences(method: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    critic = GanTrainer(task(tmp_path, method), CPU).critic.double()
    for weights in critic.parameters():  # with fresh weights, gradients are so small that every penalty is 1
        weights.data *= 4
    labels = torch.zeros(3, dtype=torch.int64)
    real, generated = torch.rand(2, 3, 1, 16, 16, dtype=torch.float64) * 2 - 1
    shares = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    found = gradient_penalty(lambda x: critic(x, labels), real, generated, shares)
    expected = by_differences(lambda x: critic(x, labels[:1]), real, generated, shares)
    assert found.item() == pytest.approx(expected, rel=1e-3)
    assert not 0.99 < expected < 1.01

    # The penalty's own gradient trains the critic.
    weight = critic.layers[0].weight
    (slope,) = torch.autograd.grad(found, weight)
    values = []
    for sign in (1, -1):
        weight.data[0, 0, 0, 0] += sign * 1e-5
        values.append(gradient_penalty(lambda x: critic(x, labels), real, generated, shares).item())
        weight.data[0, 0, 0, 0] -= sign * 1e-5
    assert slope[0, 0, 0, 0].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3)


def test_every_face_has_an_interpolation_weight_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def recorded(critic: Any, real: Tensor, generated: Tensor, shares: Tensor) -> Tensor:
        seen.append(shares)
        return gradient_penalty(critic, real, generated, shares)

    monkeypatch.setattr(trainer, "gradient_penalty", recorded)
    trained(task(tmp_path, "wgan_gp", epochs=1))
    assert len(seen) == 3
    for shares in seen:
        assert len(shares.unique()) == len(shares) > 1
        assert ((shares >= 0) & (shares <= 1)).all()


# ---------------------------------------------------------------------------------------------------- losses


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=8), st.lists(st.floats(-30, 30), min_size=1, max_size=8)
)
def test_dcgan_minimises_cross_entropies(real: list[float], generated: list[float]) -> None:
    ones, zeros = torch.tensor(real, dtype=torch.float64), torch.tensor(generated, dtype=torch.float64)
    entropy = F.binary_cross_entropy_with_logits
    expected = entropy(ones, torch.ones_like(ones)) + entropy(zeros, torch.zeros_like(zeros))
    torch.testing.assert_close(adversarial.cross_entropy_critic(ones, zeros), expected)
    torch.testing.assert_close(adversarial.non_saturating(zeros), entropy(zeros, torch.ones_like(zeros)))


def test_the_curve_of_wgan_gp_is_its_estimate_of_the_distance(tmp_path: Path) -> None:
    for epoch in trained(task(tmp_path, "wgan_gp")).progress.history:
        assert epoch["distance"] == pytest.approx(-epoch["critic"], rel=1e-6)


# ---------------------------------------------------------------------------------- differentiable augmentation


def draws(count: int, **fixed: list[float]) -> diffaugment.UniformDraws:
    neutral = {"brightness": 0.5, "saturation": 0.5, "contrast": 0.5, "down": 0.5, "right": 0.5}
    middle = {
        name: torch.full((count,), value)
        for name, value in (neutral | {"hole_top": 0.5, "hole_left": 0.5}).items()
    }
    return diffaugment.UniformDraws(
        **(middle | {name: torch.tensor(values) for name, values in fixed.items()})
    )


def test_colour_and_translation_in_the_middle_change_nothing() -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(diffaugment.apply(images, ["colour", "translation"], draws(2)), images)


def test_translation_moves_whole_pixels_and_black_comes_in() -> None:
    images = torch.rand(2, 1, 16, 16)
    moved = diffaugment.apply(images, ["translation"], draws(2, down=[0.0, 0.999], right=[0.999, 0.5]))
    expected = torch.full_like(images, -1)
    expected[0, :, 2:, :-2] = images[0, :, :-2, 2:]  # an eighth of the side: 2 pixels
    expected[1, :, :-2] = images[1, :, 2:]
    torch.testing.assert_close(moved, expected)


def test_cutout_leaves_a_grey_hole_of_half_the_side() -> None:
    cut = diffaugment.apply(
        torch.ones(2, 1, 16, 16), ["cutout"], draws(2, hole_top=[0.5, 0.0], hole_left=[0.5, 0.0])
    )
    assert (cut == 0).sum((1, 2, 3)).tolist() == [64, 16]
    assert (cut[0, 0, 4:12, 4:12] == 0).all()
    assert (cut[1, 0, :4, :4] == 0).all()


def test_colour_is_brightness_then_saturation_then_contrast() -> None:
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    drawn = draws(1, brightness=[0.9], saturation=[0.2], contrast=[0.7])
    expected = images.numpy() + 0.4
    grey = expected.mean(1, keepdims=True)
    expected = grey + 0.4 * (expected - grey)
    expected = expected.mean() + 1.2 * (expected - expected.mean())
    np.testing.assert_allclose(diffaugment.apply(images, ["colour"], drawn).numpy(), expected, rtol=1e-6)


def test_gradients_flow_through_all_of_it() -> None:
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    drawn = diffaugment.draw(2, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(
        lambda x: diffaugment.apply(x, ["colour", "translation", "cutout"], drawn), images
    )


# -------------------------------------------------------------------------------------------------- training


def test_dcgan_learns_the_brightness_of_its_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bright = np.full((32, 16, 16, 1), 200, np.uint8) + rng.integers(0, 9, (32, 16, 16, 1), np.uint8)

    def distance(epochs: int) -> float:
        changes = {"diffaugment": [], "learning_rate": 2e-3, "batch_size": 16, "width": 8}
        of = replace(
            task(tmp_path, epochs=epochs, **changes), faces=bright, labels=np.zeros(32, np.int64),
            path=tmp_path / str(epochs),
        )  # fmt: skip
        made = generators_of(of, trained(of).weights, CPU)[0]
        return abs(float(made.faces(range(64)).mean()) - 204)

    assert distance(80) < distance(1) / 2


def test_cgan_learns_which_class_is_bright(tmp_path: Path) -> None:
    levels = np.array([60, 200])[np.arange(64) % 2]
    faces = np.broadcast_to(levels[:, None, None, None], (64, 16, 16, 1)).astype(np.uint8)
    changes = {"diffaugment": [], "learning_rate": 1e-3, "batch_size": 16, "width": 8, "epochs": 40}
    of = replace(task(tmp_path, "cgan", **changes), faces=faces, labels=np.arange(64) % 2)
    made = generators_of(of, trained(of).weights, CPU)
    assert made[0].faces(range(32)).mean() + 40 < made[1].faces(range(32)).mean()


def test_a_rare_class_is_drawn_as_often_as_a_frequent_one(tmp_path: Path) -> None:
    labels = np.array([0] * 18 + [1] * 2)
    training = GanTrainer(replace(task(tmp_path, "cgan"), labels=labels), CPU)
    drawn = labels[np.concatenate(training.task.plan(0))]
    assert np.bincount(drawn).tolist() == [10, 10]


@pytest.mark.parametrize("method", METHODS)
def test_a_training_that_stops_anywhere_goes_on_exactly(method: str, tmp_path: Path) -> None:
    whole = trained(task(tmp_path, method))
    for stop in (1, 4, 7):
        broken = replace(task(tmp_path, method), path=tmp_path / f"{stop}.safetensors", checkpoint_seconds=0)
        steps = iter(range(stop))
        with pytest.raises(StopIteration):
            GanTrainer(broken, CPU).run(lambda steps=steps: next(steps))
        resumed = trained(broken)
        assert resumed.resumed
        assert_same(resumed, whole)


def test_side_by_side_is_as_one_after_the_other(tmp_path: Path) -> None:
    tasks = [
        replace(task(tmp_path), name=name, path=tmp_path / name) for name in ("fear", "anger", "disgust")
    ]
    one_by_one = train_tasks(tasks, CPU, 1, "test")
    for of in tasks:
        of.path.unlink()
    for one, other in zip(one_by_one, train_tasks(tasks, CPU, 2, "test"), strict=True):
        assert_same(one, other)
    assert not np.array_equal(
        one_by_one[0].weights["layers.0.weight"], one_by_one[1].weights["layers.0.weight"]
    )


class Dead(nn.Module):
    """Make one face, whatever the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.face = nn.Parameter(torch.zeros(1, 1, 16, 16))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.face.repeat(len(noise), 1, 1, 1)


def collapsed(params: Any, size: int, channels: int, classes: int) -> GAN:
    return replace(dcgan.build(params, size, channels, classes), generator=Dead())


def test_a_collapsed_training_stops_and_says_so(tmp_path: Path) -> None:
    of = replace(task(tmp_path, epochs=50), build=collapsed, checkpoint_seconds=0)
    with pytest.raises(
        UserError, match=f"collapsed for fear in epoch {COLLAPSED_EPOCHS}: all generated faces"
    ):
        trained(of)


def test_a_training_that_diverges_keeps_its_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = replace(task(tmp_path, epochs=50), checkpoint_seconds=0)

    def broken(generated: Tensor) -> Tensor:
        return adversarial.non_saturating(generated) * (float("nan") if training.progress.epoch == 2 else 1)

    training = GanTrainer(of, CPU)
    training.gan = replace(training.gan, generator_loss=broken)
    with pytest.raises(
        UserError, match=r"diverged for fear in epoch 3: .* The last good state, of epoch 2, is .*state"
    ):
        training.run(lambda: None)
    tensors, about = checkpoint.restore(of.path) or ({}, {})
    assert (about["epoch"], about["step"]) == (1, 3)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def collapsed_beside(other: Path, *arguments: Any) -> GAN:
    """Return a GAN that collapses once another training has written a checkpoint."""
    end = time.monotonic() + 120
    while not other.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return collapsed(*arguments)


def test_a_failure_side_by_side_is_one_line_and_the_others_can_go_on(tmp_path: Path) -> None:
    tasks = [
        replace(
            task(tmp_path, epochs=50),
            name="fear",
            build=partial(collapsed_beside, tmp_path / "anger"),
            path=tmp_path / "fear",
        ),
        replace(task(tmp_path, epochs=10_000), name="anger", path=tmp_path / "anger", checkpoint_seconds=0),
    ]
    with pytest.raises(UserError, match="collapsed for fear"):
        train_tasks(tasks, CPU, 2, "test")
    assert checkpoint.restore(tmp_path / "anger") is not None


# ----------------------------------------------------------------------------------------------------- fitting


def setup(folder: Path, name: str, settings: Any = None) -> GanSetup:
    settings = settings or toy.settings("gan", name, **(COMMON | OWN[name] | {"epochs": 1}))
    return GanSetup(name, settings, 1, CPU, torch.float32, 1, folder, 1e9)


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_a_class_with_hardly_a_face_is_refused_by_name(method: str, count: int, tmp_path: Path) -> None:
    faces = np.zeros((20 + count, 16, 16, 1), np.uint8)
    labels = np.array([0] * 20 + [1] * count)
    with pytest.raises(
        UserError, match=f"gans.classes: found 'fear' with {count} faces in split train, allowed: at l"
    ):
        fit_generators(
            setup(tmp_path, method), faces.__getitem__, labels, ["anger", "fear"], ["anger", "fear"]
        )
    assert not list(tmp_path.iterdir())


def test_the_same_seed_gives_the_same_face(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces, labels = rng.integers(0, 256, (40, 16, 16, 1), np.uint8), np.arange(40) % 2
    one = fit_generators(
        setup(tmp_path, "cgan"), faces.__getitem__, labels, ["anger", "fear"], ["fear"]
    ).generators
    assert list(one) == ["fear"]
    first = one["fear"].faces([5, 6, 7])
    np.testing.assert_array_equal(one["fear"].faces([7, 5])[::-1], first[[0, 2]])
    again = fit_generators(
        setup(tmp_path / "b", "cgan"), faces.__getitem__, labels, ["anger", "fear"], ["fear"]
    ).generators
    np.testing.assert_array_equal(again["fear"].faces([5, 6, 7]), first)
    assert again["fear"].digest() == one["fear"].digest()


def test_repeats_are_the_real_faces_each_about_as_often() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), np.uint8)
    made = repeat.generators(faces, np.array(["fear"] * 4 + ["anger"] * 6), ["fear"])["fear"]
    assert isinstance(made, Generator)
    drawn = made.faces(range(4000))
    which = [int((faces[:4] == face).all((1, 2, 3)).argmax()) for face in drawn]
    np.testing.assert_array_equal(drawn, faces[which])
    assert np.bincount(which, minlength=4) == pytest.approx(1000, abs=120)


def killed(folder: Path, method: str) -> None:
    """Train until the process is killed, in the middle of the second epoch."""
    step = trainer.GanTrainer._step

    def last(training: trainer.GanTrainer, rows: Any) -> None:
        step(training, rows)
        if training.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.GanTrainer._step = last
    train_tasks([replace(task(folder, method), checkpoint_seconds=0)], CPU, 1, "test")


@pytest.mark.parametrize("method", ["dcgan", "cgan"])
def test_a_killed_training_ends_with_the_same_weights(method: str, tmp_path: Path) -> None:
    done = forked.run(killed, tmp_path / "killed", method)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = trained(task(tmp_path / "killed", method))
    assert resumed.resumed
    assert_same(resumed, trained(task(tmp_path / "whole", method)))
