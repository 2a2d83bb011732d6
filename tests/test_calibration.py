import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve

from pipeline.evaluation.calibration import calibration_error, confidence_bins


def predictions(confidence: np.ndarray) -> np.ndarray:
    """Return probabilities of two classes that predict the first with the given confidence."""
    return np.stack([confidence, 1 - confidence], axis=1)


def test_a_network_that_is_as_right_as_it_says_has_no_error() -> None:
    confidence = np.repeat([0.6, 0.9], [5, 10])
    labels = np.array([0, 0, 0, 1, 1] + [0] * 9 + [1])

    assert calibration_error(labels, predictions(confidence)) == pytest.approx(0)


def test_the_error_is_the_distance_between_confidence_and_accuracy_weighted_by_images() -> None:
    # 30 images at 0.95 with 21 correct, 10 at 0.55 with 8 correct.
    confidence = np.repeat([0.95, 0.55], [30, 10])
    labels = np.repeat([0, 1, 0, 1], [21, 9, 8, 2])

    expected = 30 / 40 * (0.95 - 0.7) + 10 / 40 * (0.8 - 0.55)
    assert calibration_error(labels, predictions(confidence)) == pytest.approx(expected)


def test_errors_of_opposite_sign_cancel_within_a_bin_and_not_between_bins() -> None:
    labels = np.array([0, 1])

    assert calibration_error(labels, predictions(np.array([0.7, 0.7]))) == pytest.approx(0.2)
    assert calibration_error(labels, predictions(np.array([0.7, 0.9]))) == pytest.approx((0.3 + 0.9) / 2)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    images, *_ = confidence_bins(np.zeros(3, int), predictions(np.array([0.6, np.nextafter(0.6, 1), 1.0])))

    # 0.6 is 9/15.
    assert np.flatnonzero(images).tolist() == [8, 9, 14]


def test_a_probability_that_was_rounded_to_above_one_counts() -> None:
    above = np.float32(1) + np.finfo(np.float32).eps
    images, *_ = confidence_bins(np.zeros(1, int), np.array([[above, 0]], np.float32))

    assert images[-1] == 1


def test_the_error_follows_from_scikit_learns_curve_and_pandas_counts() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count, classes = int(1000 ** rng.random()), int(rng.integers(2, 9))
        probabilities = rng.dirichlet(np.full(classes, rng.choice([0.1, 1, 10])), count)
        labels = rng.integers(0, classes, count)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        bins = pd.cut(np.minimum(confidence, 1), np.linspace(0, 1, 16))
        images = pd.Series(confidence).groupby(bins, observed=True).size()

        accuracy, meant = calibration_curve(right, np.minimum(confidence, 1), n_bins=15, pos_label=True)

        expected = np.average(np.abs(accuracy - meant), weights=images)
        assert calibration_error(labels, probabilities) == pytest.approx(expected, abs=1e-12), seed
