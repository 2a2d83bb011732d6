"""Calibration: 80 % of the predictions with a confidence of 80 % should be correct.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, with their 15 bins. Confidence is the
probability of the predicted class.
"""

from __future__ import annotations

import numpy as np

BINS = 15


def confidence_bins(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort predictions by confidence into the bins (0, 1/15], (1/15, 2/15] to (14/15, 1].

    Args:
        labels: true class of each image, [N] integers from 0 to K - 1.
        probabilities: [N, K], rows sum to 1.

    Returns:
        Three arrays [15]: number of images, number of correct predictions, sum of confidences. Empty bins are 0.
    """
    # Sums are computed in float64, whatever the network's precision.
    confidence = probabilities.max(axis=1).astype(np.float64)
    # A confidence on an edge belongs to the lower bin. One rounded to just above 1 belongs to the last bin.
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence)
    correct = probabilities.argmax(axis=1) == labels
    return (
        np.bincount(bins, minlength=BINS),
        np.bincount(bins, weights=correct, minlength=BINS),
        np.bincount(bins, weights=confidence, minlength=BINS),
    )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error (equation 3), a fraction; 0 is perfect.

    It is the difference between mean confidence and accuracy in each bin, averaged with the bins' numbers of images as
    weights. Arguments as in `confidence_bins`, with at least one image.
    """
    _, correct, confidence = confidence_bins(labels, probabilities)
    return float(np.abs(correct - confidence).sum() / len(labels))
