import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation.intervals import intervals, wilson
from pipeline.evaluation.metrics import headline
from pipeline.tables.vocabulary import CLASSES

MACRO = ("macro_recall", "macro_f1")
SCORES = ("accuracy", *MACRO)


def predictions(seed: int, count: int, classes: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < accuracy, labels, rng.integers(0, classes, count))
    return labels, predicted


@given(st.integers(1, 50_000), st.floats(0, 1))
def test_the_interval_of_accuracy_is_wilsons_and_no_point(count: int, share: float) -> None:
    right = round(share * count)
    predicted = np.arange(count) >= right

    found = intervals(np.zeros(count, int), predicted.astype(int), 2, 0, seed=0)

    expected = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    bounds = found.pop("accuracy")
    assert (bounds["low"], bounds["high"]) == pytest.approx(tuple(expected), abs=1e-12)
    assert 0 <= bounds["low"] <= right / count <= bounds["high"] <= 1
    assert bounds["low"] < bounds["high"]
    assert not found  # no resamples


def test_one_right_image_says_nearly_nothing() -> None:
    # z^2 = 3.8415; the bounds of 1 of 1 are 1 / (1 + z^2) and 1.
    assert wilson(1, 1) == (pytest.approx(1 / 4.841459), 1.0)
    assert wilson(0, 1) == (0.0, pytest.approx(1 - 1 / 4.841459))


def test_the_intervals_of_macro_scores_are_those_of_a_bootstrap_over_images() -> None:
    # 30 images of four classes; one class is rare enough to be absent from many resamples.
    rng = np.random.default_rng(1)
    labels = np.array([0] * 14 + [1] * 9 + [2] * 5 + [3] * 2)
    predicted = np.where(rng.random(30) < 0.6, labels, rng.integers(0, 4, 30))

    found = intervals(labels, predicted, 4, 50_000, seed=2)

    draws = rng.integers(0, 30, (500, 30))
    resampled = [headline(labels[rows], predicted[rows], list(CLASSES[:4])) for rows in draws]
    for name in MACRO:
        values = [scores[name] for scores in resampled]
        # The standard error of a 2.5 % quantile of 500 values is about 0.12 of their standard deviation.
        noise = 0.35 * np.std(values)
        assert list(found[name].values()) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=noise)


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


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [
        ([0] * 15 + [1] * 14, [0] * 14 + [1] * 15),  # 29 images
        ([0] * 40, [0] * 40),  # all right
        ([0] * 40, [1] * 40),  # all wrong
        ([0] * 20 + [1] * 18 + [2] * 2, [0] * 40),  # one class named always: only its recall is not 0
        ([0] * 20 + [1] * 19 + [2], [0] * 19 + [1] * 20 + [2]),  # a single image of a class
    ],
)
def test_macro_scores_have_no_interval_where_resamples_say_nothing(
    labels: list[int], predicted: list[int]
) -> None:
    assert list(intervals(np.array(labels), np.array(predicted), 4, 200, seed=0)) == ["accuracy"]


def test_a_single_resample_and_no_image_give_no_interval() -> None:
    labels, predicted = predictions(0, 200, 4, 0.7)
    assert list(intervals(labels, predicted, 4, 1, seed=0)) == ["accuracy"]
    assert intervals(labels[:0], predicted[:0], 4, 200, seed=0) == {}
