"""Losses against the papers' equations in float64, written term by term, and centres against their update rules."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.weights import class_weights
from tests import toy

COUNTS = torch.tensor([10309, 7528, 3562, 3515, 2467, 191, 652, 165])
CENTERED = ["center", "weighted_center", "weighted_cluster"]
EVERY = ["softmax", "weighted_softmax", "logit_adjusted", *CENTERED]


def build(
    name: str, counts: torch.Tensor = COUNTS, features: int = 4, reduction: str = "mean", **settings: Any
) -> Loss:
    module = importlib.import_module(f"pipeline.methods.losses.{name}")
    return module.build(toy.settings("loss", name, reduction=reduction, **settings), counts, features)


def random_case(seed: int = 0, n: int = 32, k: int = 8, d: int = 4) -> tuple[np.ndarray, ...]:
    """Return logits [n, k], features [n, d], soft targets [n, k] and centres [k, d]."""
    rng = np.random.default_rng(seed)
    case = rng.normal(0, 3, (n, k)), rng.normal(1, 2, (n, d)), rng.dirichlet(np.ones(k), n)
    return *case, rng.normal(1, 2, (k, d))


def one_hot(targets: np.ndarray) -> np.ndarray:
    return np.eye(targets.shape[1])[targets.argmax(1)]


def with_centers(loss: Loss, centers: np.ndarray) -> Loss:
    if "centers" in loss.state_dict():
        loss.load_state_dict({"centers": torch.tensor(centers, dtype=torch.float32)})
    return loss


# The equations, for one sample of class y. `w` are class weights, `c` the centres.


def log_softmax(logits: np.ndarray, y: int) -> float:
    return float(logits[y] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())


def cluster_denominator(c: np.ndarray, y: int, alpha: float = 1.0) -> float:
    total = 0.0
    for j in range(len(c)):
        if j != y:
            for d in range(c.shape[1]):
                total += (c[j, d] - c[y, d]) ** 2
    return total + alpha


def softmax_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    return -log_softmax(z, y)


def weighted_softmax_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    return -w[y] * log_softmax(z, y)


def logit_adjusted_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    shares = (1 / w) / (1 / w).sum()  # w is the inverse of a class's frequency
    return -log_softmax(z + 1.0 * np.log(shares), y)


def center_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    return softmax_term(z, x, y, w, c) + 0.5 * 0.5 * ((x - c[y]) ** 2).sum()


def weighted_center_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    return weighted_softmax_term(z, x, y, w, c) + 0.5 * 0.5 * ((x - c[y]) ** 2).sum()


def weighted_cluster_term(z: np.ndarray, x: np.ndarray, y: int, w: np.ndarray, c: np.ndarray) -> float:
    distance = ((x - c[y]) ** 2).sum() / cluster_denominator(c, y)
    return weighted_softmax_term(z, x, y, w, c) + 1.0 * 0.5 * w[y] * distance


TERMS: dict[str, Callable[..., float]] = {name: globals()[f"{name}_term"] for name in EVERY}


def closed_form(
    name: str, z: np.ndarray, x: np.ndarray, t: np.ndarray, w: np.ndarray, c: np.ndarray
) -> float:
    """Return the mean over samples; a mixed target mixes the terms of its classes."""
    n, k = z.shape
    return sum(t[i, y] * TERMS[name](z[i], x[i], y, w, c) for i in range(n) for y in range(k)) / n


def slopes(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the gradient of `function` by central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.copy()
            moved[place] += sign * step
            found[place] += sign * function(moved) / (2 * step)
    return found


def weights_of(counts: torch.Tensor) -> np.ndarray:
    return counts.min().item() / counts.numpy().astype(np.float64)


@pytest.mark.parametrize("hard", [True, False], ids=["one_hot", "soft"])
@pytest.mark.parametrize("name", EVERY)
def test_values_and_gradients_are_the_equations(name: str, hard: bool) -> None:
    z, x, t, c = random_case(n=6)
    t, w = one_hot(t) if hard else t, weights_of(COUNTS)
    logits, features = (torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (z, x))
    value = with_centers(build(name), c)(logits, features, torch.tensor(t))
    assert value.item() == pytest.approx(closed_form(name, z, x, t, w, c), rel=1e-5)
    value.backward()
    expected = slopes(lambda a: closed_form(name, a, x, t, w, c), z)
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-5, atol=1e-7)
    if name in CENTERED:
        expected = slopes(lambda a: closed_form(name, z, a, t, w, c), x)
        np.testing.assert_allclose(features.grad.numpy(), expected, rtol=1e-5, atol=1e-7)
    else:
        assert features.grad is None


def test_the_gradient_of_weighted_cluster_is_equation_7() -> None:
    z, x, t, c = random_case(n=9)
    w, labels = weights_of(COUNTS), t.argmax(1)
    features = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    loss = with_centers(build("weighted_cluster", reduction="sum"), c)
    loss(torch.tensor(z), features, torch.tensor(one_hot(t))).backward()
    for i, y in enumerate(labels):
        expected = w[y] * (x[i] - c[y]) / cluster_denominator(c, y)
        np.testing.assert_allclose(features.grad[i].numpy(), expected, rtol=1e-5, atol=1e-8)


def test_centers_of_weighted_cluster_move_by_equation_8_towards_the_features() -> None:
    z, x, t, c = random_case(n=12)
    t = one_hot(t)
    t[:, 5] = 0  # a class that is not in the batch
    t[t.sum(1) == 0, 0] = 1
    for gamma in (1.0, 0.25):
        loss = with_centers(build("weighted_cluster", gamma=gamma), c)
        loss.update(torch.tensor(x, dtype=torch.float32), torch.tensor(t))
        w, labels = weights_of(COUNTS), t.argmax(1)
        for j in range(8):
            moved = np.zeros(4)
            for i in range(len(x)):
                if labels[i] == j:
                    moved += w[j] * (x[i] - c[j]) / cluster_denominator(c, j)
            np.testing.assert_allclose(loss.centers[j].numpy(), c[j] + gamma * moved, rtol=1e-5, atol=1e-6)
        assert torch.equal(loss.centers[5], torch.tensor(c[5], dtype=torch.float32))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("center", {}), ("weighted_center", {}), ("weighted_center", {"weigh_centers": True})],
)
def test_centers_move_as_wen_et_al_say(name: str, settings: dict[str, bool]) -> None:
    # Two samples of class 0, one of class 1, none of class 2; equation 4 of Wen et al., times a learning rate of 1/2.
    loss = build(name, torch.tensor([5, 4, 3]), 2, gamma=0.5, **settings)
    loss.load_state_dict({"centers": torch.tensor([[1.0, 0.0], [0.0, 2.0], [7.0, 7.0]])})
    features = torch.tensor([[4.0, 0.0], [1.0, 3.0], [2.0, 2.0]])
    loss.update(features, torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    # class 0: the sum of x - c is (3, 3), over 1 + 2; class 1: (2, 0) over 1 + 1
    assert loss.centers.tolist() == [[1.5, 0.5], [0.5, 2.0], [7.0, 7.0]]


@pytest.mark.parametrize("name", CENTERED)
def test_a_mixed_target_moves_the_centers_of_its_classes_by_its_shares(name: str) -> None:
    # A sample that is half class 0, half class 1, shown twice, is one of each.
    _, x, t, c = random_case(n=2)
    twice = torch.tensor(np.stack([x[0], x[0]]), dtype=torch.float32)
    mixed, pure = (with_centers(build(name), c) for _ in range(2))
    mixed.update(twice, torch.tensor([[0.5, 0.5] + [0.0] * 6] * 2))
    pure.update(twice, torch.eye(8)[:2])
    torch.testing.assert_close(mixed.centers, pure.centers)
    assert not torch.equal(pure.centers[:2], torch.tensor(c[:2], dtype=torch.float32))


def test_weigh_centers_puts_the_class_weight_before_the_distance() -> None:
    z, x, t, c = random_case(n=6)
    t, w = one_hot(t), weights_of(COUNTS)
    value = with_centers(build("weighted_center", weigh_centers=True), c)(*map(torch.tensor, (z, x, t)))
    terms = [
        w[y] * (-log_softmax(z[i], y) + 0.5 * 0.5 * ((x[i] - c[y]) ** 2).sum())
        for i, y in enumerate(t.argmax(1))
    ]
    assert value.item() == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("name", CENTERED)
def test_no_gradient_flows_into_centers_and_no_optimiser_sees_them(name: str) -> None:
    z, x, t, c = random_case()
    loss = with_centers(build(name), c)
    features = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    loss(torch.tensor(z), features, torch.tensor(t)).backward()
    loss.update(features, torch.tensor(t))
    assert not list(loss.parameters())
    assert loss.centers.grad is None
    assert not loss.centers.requires_grad
    assert list(loss.state_dict()) == ["centers"]


def test_centers_of_rare_classes_follow_their_features() -> None:
    # Batches like FER+'s, around one point for each class; the rarest class is one sample in 172.
    rng = np.random.default_rng(0)
    places = rng.normal(0, 1, (8, 4))
    for name in CENTERED:
        loss = build(name)
        for _ in range(300):
            labels = rng.choice(8, 128, p=COUNTS.numpy() / COUNTS.sum().item())
            x = torch.tensor(places[labels] + rng.normal(0, 0.1, (128, 4)), dtype=torch.float32)
            loss.update(x, torch.eye(8)[torch.from_numpy(labels)])
        far = np.linalg.norm(loss.centers.numpy() - places, axis=1)
        assert far.max() < 0.25, (name, far)


@pytest.mark.parametrize("name", EVERY)
def test_losses_are_computed_in_float32(name: str) -> None:
    z, x, t, c = (torch.tensor(a) for a in random_case())
    z, x = z.bfloat16(), x.bfloat16()
    value = with_centers(build(name), c.numpy())(z, x, t)
    assert value.dtype == torch.float32
    exact = closed_form(
        name, z.double().numpy(), x.double().numpy(), t.numpy(), weights_of(COUNTS), c.numpy()
    )
    assert value.item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", CENTERED)
def test_near_centers_far_from_zero_survive_bfloat16(name: str) -> None:
    # Features of length 1,000 a few tenths from their centre: bfloat16 keeps steps of 0.25 there.
    rng = np.random.default_rng(0)
    z, _, t, _ = random_case(d=512)
    t, c = one_hot(t), 44 + rng.normal(0, 0.02, (8, 512))
    x = c[t.argmax(1)] + rng.normal(0, 0.02, (32, 512))
    results = []
    for enabled in (False, True):
        loss = with_centers(build(name, features=512, gamma=0.1), c)
        features = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = loss(torch.tensor(z, dtype=torch.float32), features, torch.tensor(t))
            value.backward()
            loss.update(features, torch.tensor(t))
        results.append((value, features.grad, loss.centers))
    (value, slope, centers), (under, slope_under, centers_under) = results
    exact = closed_form(name, z, x, t, weights_of(COUNTS), c)
    assert value.item() == pytest.approx(exact, rel=1e-3)
    assert under.item() == pytest.approx(value.item(), rel=1e-3)
    torch.testing.assert_close(slope_under, slope, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(centers_under, centers, rtol=0, atol=1e-5)


@given(
    st.sampled_from(EVERY),
    st.integers(1, 9),
    st.integers(2, 10),
    st.integers(1, 20),
    st.integers(0, 2**16),
    st.booleans(),
)
def test_any_batch_gives_the_equations_value(
    name: str, n: int, k: int, d: int, seed: int, hard: bool
) -> None:
    z, x, t, c = random_case(seed, n, k, d)
    t = one_hot(t) if hard else t
    counts = torch.from_numpy(np.random.default_rng(seed).integers(1, 1000, k))
    loss = with_centers(build(name, counts, d), c)
    value = loss(*(torch.tensor(a, dtype=torch.float32) for a in (z, x, t)))
    assert value.shape == ()
    assert value.item() == pytest.approx(closed_form(name, z, x, t, weights_of(counts), c), rel=1e-4)
    loss.update(torch.tensor(x), torch.tensor(t))
    for tensor in loss.state_dict().values():
        assert tensor.isfinite().all()


def summed(name: str, z: np.ndarray, x: np.ndarray, t: np.ndarray, w: np.ndarray, c: np.ndarray) -> list:
    """Return the cross-entropy and the distances of a batch, each as (sum over samples, sum of its weights)."""
    weighted = "weighted" in name
    entropy = "weighted_softmax" if weighted else "softmax" if name in CENTERED else name
    terms = [closed_form(entropy, z, x, t, w, c) * len(z)]
    if name in CENTERED:
        terms.append(closed_form(name, z, x, t, w, c) * len(z) - terms[0])
    weights = [(t * w).sum() if weighted else len(z), (t * w).sum() if name == "weighted_cluster" else len(z)]
    return list(zip(terms, weights, strict=False))


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("name", EVERY)
def test_each_reduction_divides_each_term_by_its_own_weights_also_in_parts(name: str, reduction: str) -> None:
    z, x, t, c = random_case(n=7)
    loss = with_centers(build(name, reduction=reduction), c)
    tensors = [torch.tensor(a, dtype=torch.float32) for a in (z, x, t)]
    divided = {"mean": lambda weight: len(z), "weighted_mean": lambda weight: weight, "sum": lambda weight: 1}
    expected = sum(
        term / divided[reduction](weight) for term, weight in summed(name, z, x, t, weights_of(COUNTS), c)
    )
    assert loss(*tensors).item() == pytest.approx(expected, rel=1e-5)
    totals = tensors[2].sum(0)
    parts = [loss(*(a[rows] for a in tensors), totals) for rows in (slice(2), slice(2, 7))]
    assert sum(parts).item() == pytest.approx(expected, rel=1e-5)


@given(st.sampled_from(["mean", "weighted_mean", "sum"]), st.integers(1, 9), st.integers(0, 2**16))
def test_the_reductions_of_class_indices_are_torchs(reduction: str, n: int, seed: int) -> None:
    z, x, t, _ = random_case(seed, n)
    logits, labels = torch.tensor(z, dtype=torch.float32), torch.from_numpy(t.argmax(1))
    value = build("weighted_softmax", reduction=reduction)(logits, torch.tensor(x), torch.tensor(one_hot(t)))
    weight = class_weights("min_over_count", COUNTS)
    # torch calls the weighted mean `mean`; the mean over samples is its sum over their number.
    torchs = torch.nn.CrossEntropyLoss(weight, reduction="mean" if reduction == "weighted_mean" else "sum")
    theirs = torchs(logits, labels) / (n if reduction == "mean" else 1)
    torch.testing.assert_close(value, theirs)


def test_the_reductions_on_affectnet_are_the_papers() -> None:
    # 283,651 faces remain of the published training list without 500 of each class, in batches of 36.
    counts = torch.tensor([74874, 134415, 14090, 25459, 24882, 3803, 6378, 3750]) - 500
    targets = (counts / counts.sum()).expand(36, -1)
    logits, features = torch.zeros(36, 8), torch.zeros(36, 4)  # a cross-entropy of ln 8 each
    expected = {"sum": (3.30, 0.005), "weighted_mean": (1.0, 1e-6), "mean": (0.092, 0.0005)}
    for reduction, (figure, within) in expected.items():
        value = build("weighted_softmax", counts, reduction=reduction)(logits, features, targets)
        assert value.item() / np.log(8) == pytest.approx(figure, abs=within), reduction


def test_a_batch_whose_weights_are_all_0_has_the_loss_0() -> None:
    counts = torch.tensor([9, 5, 0])
    loss = build("weighted_softmax", counts, reduction="weighted_mean")
    logits = torch.ones(2, 3, requires_grad=True)
    value = loss(logits, torch.ones(2, 4), torch.tensor([[0.0, 0, 1]] * 2))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("counts", "batch", "times"),
    [
        # RAF-DB's training list, and seven classes of the same size
        ([2524, 4772, 1290, 1982, 705, 717, 281], 128, 2.93),
        ([100] * 7, 128, 18.29),
        # AffectNet's as above, in the paper's batches: no step is cut
        ([74374, 133915, 13590, 24959, 24382, 3303, 5878, 3250], 36, 0.4125),
    ],
)
def test_a_center_of_weighted_cluster_moves_at_most_to_the_mean_of_its_features(
    counts: list[int], batch: int, times: float
) -> None:
    # Centres at 0, and a batch with the shares of the training set: equation 8 steps batch x N_min / N times the way.
    shares = torch.tensor(counts) / sum(counts)
    features = torch.randn(batch, 4, generator=torch.manual_seed(0)) + 3
    loss = build("weighted_cluster", torch.tensor(counts))
    loss.update(features, shares.expand(batch, -1))
    mean = features.mean(0).expand(len(counts), -1)
    assert batch * min(counts) / sum(counts) == pytest.approx(times, rel=2e-3)
    torch.testing.assert_close(loss.centers, min(times, 1) * mean, rtol=2e-3, atol=0)


@given(st.sampled_from(CENTERED), st.integers(1, 40), st.floats(0, 100), st.integers(0, 2**16), st.booleans())
def test_no_center_passes_the_mean_of_its_features(
    name: str, n: int, gamma: float, seed: int, hard: bool
) -> None:
    _, x, t, c = random_case(seed, n)
    t = one_hot(t) if hard else t
    loss = with_centers(build(name, torch.full((8,), 5), gamma=gamma), c)
    loss.update(torch.tensor(x), torch.tensor(t))
    sums = t.sum(0)
    for k in range(8):
        way = (t[:, k] @ x) / sums[k] - c[k] if sums[k] else np.zeros(4)
        moved = loss.centers[k].double().numpy() - c[k]
        share = moved @ way / max(way @ way, 1e-12)
        assert -1e-5 <= share <= 1 + 1e-5
        np.testing.assert_allclose(moved, share * way, atol=1e-4)


def test_weights_are_the_papers() -> None:
    counts = torch.tensor([100, 50, 0, 200])
    assert class_weights("min_over_count", counts).tolist() == pytest.approx([0.5, 1.0, 0.0, 0.25])
    expected = [1 - 100 / 350, 1 - 50 / 350, 0.0, 1 - 200 / 350]
    assert class_weights("normalized", counts).tolist() == pytest.approx(expected)


def test_inverse_weights_are_scaled_to_an_average_of_one() -> None:
    labels = np.repeat(np.arange(8), COUNTS.numpy())
    theirs = compute_class_weight("balanced", classes=np.arange(8), y=labels)
    ours = class_weights("inverse", COUNTS).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert ours[labels].astype(np.float64).mean() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(ours * COUNTS.numpy(), (ours * COUNTS.numpy())[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["weighted_softmax", "weighted_center", "weighted_cluster"])
def test_the_chosen_weights_reach_the_loss(name: str, project: Any) -> None:
    z, x, t, c = random_case()
    for rule in ("min_over_count", "normalized", "inverse"):
        w = class_weights(rule, COUNTS).double().numpy()
        value = with_centers(build(name, weights=rule), c)(*map(torch.tensor, (z, x, t)))
        assert value.item() == pytest.approx(closed_form(name, z, x, t, w, c), rel=1e-5)
    toy.set_params(project, **{f"losses.{name}.weights": "inverted"})
    with pytest.raises(UserError, match=rf"losses\.{name}\.weights: found 'inverted', allowed: .*'inverse'"):
        params.load()
