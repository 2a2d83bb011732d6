import numpy as np
import pytest
from scipy import stats

from pipeline.evaluation.intervals import intervals
from pipeline.evaluation.metrics import headline
from pipeline.tables.vocabulary import CLASSES

SCORES = ("accuracy", "macro_recall", "macro_f1")


def predictions(seed: int, count: int, classes: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < accuracy, labels, rng.integers(0, classes, count))
    return labels, predicted


@pytest.mark.parametrize(("count", "right"), [(10, 7), (200, 170), (3000, 2500)])
def test_the_interval_of_accuracy_is_that_of_the_binomial_distribution(count: int, right: int) -> None:
    # The resampled number of correct predictions is binomial, so its quantiles are known without resampling.
    labels = np.zeros(count, int)
    predicted = (np.arange(count) >= right).astype(int)

    found = intervals(labels, predicted, 2, 100_000, seed=0)["accuracy"]

    low, high = stats.binom.ppf([0.025, 0.975], count, right / count)
    # A quantile between two counts may be either of them.
    assert found["low"] * count == pytest.approx(low, abs=1)
    assert found["high"] * count == pytest.approx(high, abs=1)


@pytest.mark.parametrize("score", SCORES)
def test_the_intervals_are_those_of_scipys_bootstrap_over_images(score: str) -> None:
    # 30 images of four classes; one class is rare enough to be absent from many resamples.
    rng = np.random.default_rng(1)
    labels = np.array([0] * 14 + [1] * 9 + [2] * 5 + [3] * 2)
    predicted = np.where(rng.random(30) < 0.6, labels, rng.integers(0, 4, 30))

    found = intervals(labels, predicted, 4, 50_000, seed=2)[score]

    def resampled(rows: np.ndarray) -> float:
        return headline(labels[rows], predicted[rows], list(CLASSES[:4]))[score]

    expected = stats.bootstrap(
        (np.arange(30),), resampled, n_resamples=1000, method="percentile", vectorized=False, rng=3
    )
    # The standard error of a 2.5 % quantile of 1,000 values is about 0.09 of their standard deviation.
    noise = 0.25 * expected.standard_error
    assert found["low"] == pytest.approx(expected.confidence_interval.low, abs=noise)
    assert found["high"] == pytest.approx(expected.confidence_interval.high, abs=noise)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # Many test sets from one population, with 0.8 + 0.2 / 4 of the images recognised.
    held = dict.fromkeys(SCORES, 0)
    for seed in range(400):
        labels, predicted = predictions(seed, 300, 4, 0.8)
        for name, bounds in intervals(labels, predicted, 4, 400, seed).items():
            held[name] += bounds["low"] <= 0.85 <= bounds["high"]
    assert all(0.92 <= count / 400 <= 0.98 for count in held.values()), held


@pytest.mark.parametrize("seed", range(20))
def test_a_score_lies_within_its_interval(seed: int) -> None:
    labels, predicted = predictions(seed, 500, 8, 0.6)

    found = intervals(labels, predicted, 8, 1000, seed)

    score = headline(labels, predicted, list(CLASSES))
    for name in SCORES:
        assert 0 <= found[name]["low"] < score[name] < found[name]["high"] <= 1


def test_four_times_the_images_halve_the_interval() -> None:
    labels, predicted = predictions(0, 1000, 4, 0.7)

    few = intervals(labels, predicted, 4, 20_000, seed=0)
    many = intervals(np.tile(labels, 4), np.tile(predicted, 4), 4, 20_000, seed=0)

    for name in SCORES:
        width, narrower = (found[name]["high"] - found[name]["low"] for found in (few, many))
        assert narrower == pytest.approx(width / 2, rel=0.05)


def test_equal_seeds_give_equal_intervals_whatever_the_order_of_the_images() -> None:
    labels, predicted = predictions(0, 200, 4, 0.7)

    once = intervals(labels, predicted, 4, 500, seed=5)

    assert intervals(labels[::-1], predicted[::-1], 4, 500, seed=5) == once
    assert intervals(labels, predicted, 4, 500, seed=6) != once


@pytest.mark.parametrize(("predicted", "score"), [(2, 1.0), (0, 0.0)])
@pytest.mark.parametrize("count", [1, 7, 3000])
def test_where_all_images_are_alike_there_is_nothing_to_vary(
    count: int, predicted: int, score: float
) -> None:
    found = intervals(np.full(count, 2), np.full(count, predicted), 4, 200, seed=0)

    assert found == {name: {"low": score, "high": score} for name in SCORES}
