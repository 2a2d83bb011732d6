"""Quality of generated faces: distances against other implementations and closed forms, memorised faces, sheets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pipeline.figures import synthetic
from pipeline.quality.distances import diversity, fid, kid, prdc
from pipeline.quality.neighbours import memorisation, nearest
from pipeline.quality.noise import gaussian_noise

MEASURES = ("precision", "recall", "density", "coverage")


def features(seed: int, count: int, width: int, shift: float = 0.0) -> np.ndarray:
    """Return features like those of a network's last layer: not negative, correlated, float32."""
    rng = np.random.default_rng((seed, count, width))
    mixing = np.random.default_rng(width).normal(size=(width, width)) / np.sqrt(width)
    return np.maximum(rng.normal(shift, 1, (count, width)) @ mixing, 0).astype(np.float32)


def passing(width: int) -> nn.Module:
    """Return a network for torchmetrics that passes features through unchanged."""
    module = nn.Identity()
    module.num_features = width
    return module


def measured(metric: FrechetInceptionDistance | KernelInceptionDistance, *sets: np.ndarray) -> torch.Tensor:
    for rows, real in zip(sets, (True, False), strict=True):
        metric.update(torch.from_numpy(rows.astype(np.float64)), real=real)
    return metric.compute()


@pytest.mark.parametrize(
    ("n", "m", "width"), [(300, 200, 16), (64, 64, 64), (500, 40, 128), (5, 165, 512), (2, 3, 32)]
)
def test_fid_is_the_one_of_torchmetrics(n: int, m: int, width: int) -> None:
    real, generated = features(0, n, width), features(1, m, width, shift=0.3)
    metric = FrechetInceptionDistance(passing(width)).set_dtype(torch.float64)

    assert fid(real, generated) == pytest.approx(float(measured(metric, real, generated)), rel=1e-4, abs=1e-4)


def with_moments(seed: int, count: int, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return rows whose sample mean is exactly `mean` and whose sample covariance is `factor` @ `factor`.T."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return mean + white @ factor.T


def test_fid_of_gaussians_that_share_axes_is_the_closed_form() -> None:
    # If covariances commute, FID is |m1 - m2|^2 + sum over axes of (s1 - s2)^2, with s the deviations along the axes.
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    means, deviations = rng.normal(size=(2, 20)), rng.uniform(0.1, 3, size=(2, 20))
    real, generated = (with_moments(i, 100 + i, means[i], axes * deviations[i]) for i in range(2))

    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    assert fid(real, generated) == pytest.approx(expected, rel=1e-9)


def test_fid_of_gaussians_that_share_no_axes_is_the_closed_form() -> None:
    # Two dimensions: the trace of a square root is sqrt(trace + 2 sqrt(determinant)).
    first, second = np.array([[2.0, 0.0], [0.7, 0.5]]), np.array([[0.4, 0.3], [0.0, 1.6]])
    real, generated = (
        with_moments(0, 50, np.zeros(2), first),
        with_moments(1, 60, np.array([3.0, 4.0]), second),
    )

    a, b = first @ first.T, second @ second.T
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = 25 + np.trace(a) + np.trace(b) - 2 * root
    assert fid(real, generated) == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 165), (5, 5), (5, 165), (165, 300)])
def test_fid_of_fewer_faces_than_features(n: int, m: int, capfd: pytest.CaptureFixture[str]) -> None:
    real, generated = features(2, n, 512).astype(np.float64), features(3, m, 512, shift=0.2)

    found = fid(real, generated)

    # Computed from the rows, without a covariance: the trace of the root is the sum of the singular values of X Y^T.
    x, y = (
        (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (real, generated.astype(np.float64))
    )
    trace = np.square(x).sum() + np.square(y).sum() - 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()
    assert found == pytest.approx(
        np.square(real.mean(axis=0) - generated.mean(axis=0)).sum() + trace, rel=1e-5
    )
    assert 0 <= fid(real, real) < 1e-3
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
@pytest.mark.parametrize(("count", "width"), [(2, 8), (5, 512), (300, 64), (1000, 32)])
def test_kid_of_one_subset_is_the_one_of_torchmetrics(count: int, width: int) -> None:
    real, generated = features(4, count, width), features(5, count, width, shift=0.3)
    metric = KernelInceptionDistance(passing(width), subsets=1, subset_size=count)

    mean, _ = measured(metric, real, generated)

    assert kid(real, generated) == pytest.approx(float(mean), rel=1e-4, abs=1e-7)


def test_kid_of_unequal_sets_is_the_unbiased_estimate_of_all_pairs() -> None:
    real, generated = (
        features(6, 1500, 16).astype(np.float64),
        features(7, 400, 16, shift=0.5).astype(np.float64),
    )

    xx, yy, xy = ((a @ b.T / 16 + 1) ** 3 for a, b in ((real,) * 2, (generated,) * 2, (real, generated)))
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    expected = xx.sum() / (1500 * 1499) + yy.sum() / (400 * 399) - 2 * xy.mean()
    found = [kid(real, generated, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found == pytest.approx([expected] * 3, rel=0.1)
    assert kid(generated, real) == pytest.approx(expected, rel=0.1)


def test_kid_of_the_same_distribution_is_around_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    found = [kid(features(seed, 60, 16), features(100 + seed, 60, 16)) for seed in range(40)]

    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("n", "m", "width", "k"),
    [(50, 40, 8, 5), (40, 50, 8, 1), (7, 300, 64, 5), (300, 9, 3, 3), (600, 1100, 32, 5), (30, 30, 512, 10)],
)
def test_manifolds_are_those_of_prdc(n: int, m: int, width: int, k: int) -> None:
    real, generated = features(8, n, width), features(9, m, width, shift=0.2)

    found = prdc(real, generated, k)

    assert found == pytest.approx(compute_prdc(real, generated, k), abs=1e-4)
    assert any(0 < found[name] < 1 for name in MEASURES)


@st.composite
def lattices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw two sets of points with small integer coordinates, so that equal distances and equal points are common."""
    width, k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    point = st.lists(st.integers(0, 3), min_size=width, max_size=width)
    real, generated = (draw(st.lists(point, min_size=k + 2, max_size=14)) for _ in range(2))
    return np.array(real, np.float64), np.array(generated, np.float64), k


@given(lattices())
def test_manifolds_with_ties_are_those_of_prdc(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    real, generated, k = drawn

    assert prdc(real, generated, k) == pytest.approx(compute_prdc(real, generated, k), abs=1e-9)


@given(lattices(), st.integers(0, 2**32 - 1))
def test_measures_are_shares_and_the_order_of_faces_does_not_matter(
    drawn: tuple[np.ndarray, np.ndarray, int], seed: int
) -> None:
    real, generated, k = drawn
    rng = np.random.default_rng(seed)

    found = prdc(real, generated, k)

    assert all(0 <= found[name] <= 1 for name in ("precision", "recall", "coverage"))
    assert 0 <= found["density"] <= len(real) / k
    assert prdc(rng.permutation(real), rng.permutation(generated), k) == pytest.approx(found)
    # With the sets swapped, precision is recall.
    back = prdc(generated, real, k)
    assert (back["precision"], back["recall"]) == (found["recall"], found["precision"])


@given(st.integers(3, 40), st.integers(2, 40), st.integers(1, 6), st.integers(0, 1000))
def test_of_the_same_faces_all_is_one(count: int, width: int, k: int, seed: int) -> None:
    drawn = 100 + np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)

    # Each ball reaches over k other rows and its own; rows on its surface are outside.
    assert prdc(drawn, drawn.copy(), k) == pytest.approx(dict.fromkeys(MEASURES, 1.0))


@pytest.mark.parametrize("width", [8, 37, 512])
def test_a_generator_that_makes_one_face_has_precision_alone(width: int) -> None:
    real = 10 + features(10, 200, width)
    copies = np.repeat(real[:1], 100, axis=0)

    found = prdc(real, copies)

    # The balls of the copies are empty, despite rounding between equal rows.
    assert (found["precision"], found["recall"]) == (1, 0)
    assert found["coverage"] < 0.5
    assert diversity(copies) == 0


def test_diversity_is_the_mean_over_pairs() -> None:
    rows = features(11, 700, 5)
    pairs = [
        np.linalg.norm(a.astype(np.float64) - b) for i, a in enumerate(rows[:60]) for b in rows[:60][i + 1 :]
    ]

    assert diversity(rows[:60]) == pytest.approx(np.mean(pairs), rel=1e-9)
    assert diversity(rows) == pytest.approx(float(torch.pdist(torch.from_numpy(rows)).mean()), rel=1e-5)
    assert diversity(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])) == pytest.approx(10 / 3)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0), (1, 1), (1, 5), (5, 1)])
def test_what_less_than_two_faces_leave_undefined_is_null(n: int, m: int) -> None:
    real, generated = features(12, n, 8), features(13, m, 8)

    assert (fid(real, generated), kid(real, generated)) == (None, None)
    assert prdc(real, generated) == dict.fromkeys(MEASURES)
    assert (diversity(real) is None, diversity(generated) is None) == (n < 2, m < 2)


def test_k_is_lowered_to_what_the_smaller_set_has() -> None:
    real, generated = features(14, 5, 8), features(15, 30, 8)

    assert prdc(real, generated, 50) == prdc(real, generated, 4)
    assert prdc(generated, real, 50) == prdc(generated, real, 4)
    two = prdc(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.5, 0.0], [9.0, 0.0]]))
    # The balls of the real faces, of radius 1, hold the first generated face; those of radius 8.5 hold both real ones.
    assert two == {"precision": 0.5, "recall": 1, "density": 1, "coverage": 1}


def smooth(seed: int, count: int, size: int = 16, channels: int = 1) -> np.ndarray:
    """Return random smooth images in place of faces: uint8 [count, size, size, channels]."""
    coarse = np.random.default_rng(seed).uniform(40, 200, (count, channels, 4, 4)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), (size, size), mode="bicubic")
    return fine.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_mean_and_the_variance_of_every_pixel(channels: int) -> None:
    faces = smooth(0, 300, channels=channels)

    drawn = gaussian_noise(faces, 4000, seed=1)

    assert (drawn.shape, drawn.dtype) == ((4000, 16, 16, channels), np.uint8)
    deviation = faces.std(axis=0)
    # Five standard errors of a mean and of a deviation; clipping shortens the tails a little.
    error = 5 * deviation / np.sqrt(4000)
    assert (abs(drawn.mean(axis=0) - faces.mean(axis=0)) < error + 0.2).all()
    assert (abs(drawn.std(axis=0) - deviation) < error / np.sqrt(2) + 0.5).all()
    # Neighbouring pixels are independent; in faces they are nearly equal.
    pairs = [np.corrcoef(images[:, 8, 8, 0], images[:, 8, 9, 0])[0, 1] for images in (faces, drawn)]
    assert pairs[0] > 0.8
    assert abs(pairs[1]) < 0.1


def test_noise_follows_from_the_seed_and_is_clipped() -> None:
    faces = smooth(1, 20)
    faces[:, 0] = np.where(np.arange(20) % 2, 255, 0)[:, None, None]
    faces[:, 1] = 77

    drawn = gaussian_noise(faces, 50, seed=3)

    assert np.array_equal(drawn, gaussian_noise(faces, 50, seed=3))
    assert not np.array_equal(drawn, gaussian_noise(faces, 50, seed=4))
    assert (drawn[:, 1] == 77).all()
    # With mean and deviation 127.5 a sixth is above 255 and a sixth below 0: clipped, not wrapped.
    assert (drawn[:, 0] == 255).mean() == pytest.approx(0.16, abs=0.05)
    assert (drawn[:, 0] == 0).mean() == pytest.approx(0.16, abs=0.05)
    assert gaussian_noise(faces, 0, seed=3).shape == (0, 16, 16, 1)


def apart(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return all distances by their definition, for faces of more than one colour."""
    first, mirror, second = (
        (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
        for rows in (part.reshape(len(part), -1).astype(float) for part in (faces, faces[:, :, ::-1], others))
    )
    both = np.minimum(*(cdist(view, second, "sqeuclidean") for view in (first, mirror)))
    return np.sqrt(both / first.shape[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_faces_are_those_of_the_definition(channels: int) -> None:
    faces, training = smooth(2, 30, 12, channels), smooth(3, 40, 12, channels)
    table = apart(faces, training)

    distances, rows = nearest(faces, training, k=7)

    assert (distances.dtype, rows.dtype) == (np.float32, np.int64)
    assert np.array_equal(rows, np.argsort(table, axis=1)[:, :7])
    assert distances == pytest.approx(np.sort(table, axis=1)[:, :7], abs=1e-5)


def test_a_face_is_not_its_own_neighbour_but_an_equal_one_is() -> None:
    training = smooth(4, 300)  # more than one block
    training[290] = training[7]
    symmetric = training[5]
    symmetric[:, 8:] = symmetric[:, 7::-1]  # its own mirror image
    table = apart(training, training)
    np.fill_diagonal(table, np.inf)

    distances, rows = nearest(training, training, same=True)

    assert np.array_equal(rows[:, 0], table.argmin(axis=1))
    assert distances[:, 0] == pytest.approx(table.min(axis=1), abs=1e-5)
    assert (rows[7, 0], rows[290, 0], distances[7, 0], distances[290, 0]) == (290, 7, 0, 0)
    assert distances[5, 0] > 0.1


def brightened(faces: np.ndarray) -> np.ndarray:
    return (faces * 0.8 + 45).round().astype(np.uint8)


def mirrored(faces: np.ndarray) -> np.ndarray:
    return faces[:, :, ::-1]


@pytest.mark.parametrize(
    ("change", "limit"), [(np.copy, 1e-3), (mirrored, 1e-3), (brightened, 0.02), (np.invert, None)]
)
def test_copies_are_found_as_memorised(
    change: Callable[[np.ndarray], np.ndarray], limit: float | None
) -> None:
    training = smooth(5, 400)
    chosen = np.arange(3, 400, 5)

    distances, rows = nearest(change(training[chosen]), training)

    if limit is None:  # a negative is another image
        assert memorisation(change(training[chosen]), training)["memorised"] < 0.1
        return
    assert np.array_equal(rows[:, 0], chosen)
    assert distances.max() < limit
    half = np.concatenate([change(training[chosen]), smooth(6, len(chosen))])
    assert memorisation(change(training[chosen]), training)["memorised"] == 1
    assert memorisation(half, training)["memorised"] == pytest.approx(0.5, abs=0.05)


def test_new_faces_are_not_memorised() -> None:
    training, new = smooth(7, 400), smooth(8, 300)

    found = memorisation(new, training)

    assert found["memorised"] < 0.05
    assert found["nearest"]["generated"] == pytest.approx(found["nearest"]["training"], rel=0.1)
    table = apart(new[:50], training).min(axis=1)
    assert memorisation(new[:50], training)["nearest"]["generated"] == pytest.approx(
        {"median": np.median(table), "low": np.percentile(table, 5)}, abs=1e-5
    )


def test_copies_are_found_where_the_training_set_has_copies_of_its_own() -> None:
    training = np.concatenate([smooth(9, 100)] * 2)

    assert memorisation(training[:10], training)["memorised"] == 1
    assert memorisation(smooth(10, 50), training)["memorised"] == 0


def test_faces_of_one_colour_are_alike_and_far_from_others() -> None:
    even = np.full((3, 16, 16, 1), [[[[0]]], [[[90]]], [[[255]]]], np.uint8)

    assert nearest(even, even, same=True)[0].tolist() == [[0], [0], [0]]
    assert nearest(even, smooth(11, 20))[0] == pytest.approx(np.ones((3, 1)), abs=1e-6)
    assert nearest(smooth(11, 20), even)[0] == pytest.approx(np.ones((20, 1)), abs=1e-6)
    # A face of one colour is the nearest neighbour of faces that resemble no other face.
    others, faces = smooth(12, 20), smooth(13, 50)
    distances, rows = nearest(faces, np.concatenate([others, even[:1]]))
    table = np.concatenate([apart(faces, others), np.ones((50, 1))], axis=1)
    assert np.array_equal(rows[:, 0], table.argmin(axis=1))
    assert 10 < (rows == 20).sum() < 40


def test_a_copy_is_told_from_faces_that_differ_in_one_pixel_by_one() -> None:
    training = smooth(14, 30, 100, 3)
    training[10:15] = training[10]
    for i in range(10, 15):
        training[i, i, i, 0] += 1

    distances, rows = nearest(training[10:15], training)

    assert rows[:, 0].tolist() == [10, 11, 12, 13, 14]
    assert (distances == 0).all()


@pytest.mark.parametrize("generated", [0, 1, 5])
@pytest.mark.parametrize("known", [0, 1, 2, 5])
def test_few_faces(generated: int, known: int) -> None:
    faces, training = smooth(12, generated), smooth(13, known)

    assert [part.shape for part in nearest(faces, training, k=3)] == [(generated, min(3, known))] * 2
    among = nearest(training, training, k=3, same=True)
    assert [part.shape for part in among] == [(known, max(0, min(3, known - 1)))] * 2
    found = memorisation(faces, training)
    undefined = {"median": None, "low": None}
    assert (found["nearest"]["generated"] == undefined) == (generated == 0 or known == 0)
    assert (found["nearest"]["training"] == undefined) == (known < 2)
    assert (found["memorised"] is None) == (generated == 0 or known < 2)


def draw_all(folder: Path, channels: int) -> list[Path]:
    faces = smooth(14, 70, 24, channels)
    synthetic.real_beside_generated(folder / "beside.png", "fear", faces[:5], faces)
    synthetic.by_epoch(folder / "epochs.png", "fear", [1, 1000], faces[:12].reshape(2, 6, *faces.shape[1:]))
    synthetic.interpolation(folder / "between.png", "fear", faces[:12].reshape(2, 6, *faces.shape[1:]))
    near = faces[:12].reshape(3, 4, *faces.shape[1:])
    synthetic.neighbours(folder / "near.png", "fear", faces[:3], near, np.arange(12).reshape(3, 4) / 7)
    synthetic.curves(folder / "critic.png", "critic", "value", {"fear": [3.0, 2.0, 1.5], "anger": [2.0, 1.0]})
    synthetic.curves(folder / "one.png", "loss", "loss", {"fear": [3.0]})
    return sorted(folder.glob("*.png"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 3])
def test_sheets_are_images_and_equal_input_gives_equal_bytes(tmp_path: Path, channels: int) -> None:
    (tmp_path / "again").mkdir()

    once, again = draw_all(tmp_path, channels), draw_all(tmp_path / "again", channels)

    assert len(once) == 6
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    for path in once:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert all(150 < side < 2000 for side in image.size)
            assert len(image.convert("L").getcolors()) > 20


def test_gan_curves_are_a_moving_average_over_pale_values(tmp_path: Path, figures: list[Figure]) -> None:
    values = {
        name: np.random.default_rng(i).normal(size=100).tolist() for i, name in enumerate(("fear", "anger"))
    }

    synthetic.curves(tmp_path / "a.png", "dcgan", "generator's loss", values)

    [axes] = figures[0].axes
    pale = [line for line in axes.get_lines() if line.get_alpha()]
    strong = [line for line in axes.get_lines() if not line.get_alpha()]
    assert [line.get_color() for line in pale] == [line.get_color() for line in strong]
    assert [line.get_label() for line in strong] == list(values)
    for raw, mean, numbers in zip(pale, strong, values.values(), strict=True):
        assert raw.get_ydata().tolist() == numbers
        expected = pd.Series(numbers).rolling(5, center=True, min_periods=1).mean()
        assert mean.get_ydata() == pytest.approx(expected)
    assert axes.get_ylabel() == "generator's loss"
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(values)
    assert legend.get_title().get_text() == "generator's loss\nmean of 5 epochs\npale: each epoch"


def test_real_faces_stand_left_and_generated_ones_right(tmp_path: Path) -> None:
    red, blue = (np.full((64, 24, 24, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))

    synthetic.real_beside_generated(tmp_path / "sheet.png", "fear", red, blue[:8])

    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    across = [
        np.flatnonzero((pixels == colour).all(axis=2).any(axis=0)) for colour in (red[0, 0, 0], blue[0, 0, 0])
    ]
    down = [
        np.flatnonzero((pixels == colour).all(axis=2).any(axis=1)) for colour in (red[0, 0, 0], blue[0, 0, 0])
    ]
    assert across[0].max() < across[1].min()
    assert down[0].min() == down[1].min()
    assert 10 < pixels.shape[0] - down[0].max() < 30  # the sheet ends below the faces, and beside them
    assert pixels.shape[1] - across[1].max() == pytest.approx(across[0].min(), abs=8)
    assert np.ptp(down[0]) > 7 * np.ptp(down[1])  # eight rows of real faces, one of generated ones


def test_each_row_says_its_epoch_and_each_neighbour_its_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[str]] = []
    savefig = Figure.savefig

    def noting(figure: Figure, *args: object, **more: object) -> None:
        said.append([text.get_text() for axes in figure.axes for text in axes.texts])
        savefig(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", noting)
    faces = smooth(15, 6)

    synthetic.by_epoch(tmp_path / "epochs.png", "anger", [1, 20, 300], faces[:, None][:3])
    synthetic.neighbours(
        tmp_path / "near.png",
        "anger",
        faces[:2],
        faces[2:].reshape(2, 2, *faces.shape[1:]),
        np.array([[0.123, 0.5], [1, 1.4142]]),
    )

    assert said[0] == ["anger", "epoch", "1", "20", "300"]
    assert said[1] == ["anger", "generated", "nearest training faces", "0.12", "0.50", "1.00", "1.41"]
