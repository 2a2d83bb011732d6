"""Whether confidence can be believed: of the predictions made with 80 % confidence, 80 % should be right.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, with their 15 bins. Confidence is the
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
        Three arrays [15], in which an empty bin is 0 throughout: number of images, how many of them were
        predicted rightly, sum of their confidences.
    """
    # Images are added up in double precision, whatever the network's.
    confidence = probabilities.max(axis=1).astype(np.float64)
    # A confidence on an edge belongs below it; one that was rounded to just above 1 belongs to the last bin.
    place = np.searchsorted(np.arange(1, BINS) / BINS, confidence)
    right = probabilities.argmax(axis=1) == labels
    return (
        np.bincount(place, minlength=BINS),
        np.bincount(place, weights=right, minlength=BINS),
        np.bincount(place, weights=confidence, minlength=BINS),
    )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error, a fraction (equation 3): 0 is perfect.

    It is the distance between confidence and accuracy within a bin, averaged over bins by their images. Arguments
    as in `confidence_bins`, with at least one image.
    """
    _, right, confidence = confidence_bins(labels, probabilities)
    return float(np.abs(right - confidence).sum() / len(labels))
