"""Confidence intervals of scores over other test images of the same kind: Wilson's interval and the bootstrap.

Also the gap between the scores of groups that chance alone makes.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np

LEVEL = 95.0  # percent
# With fewer faces no score is reliable, and the bootstrap is not used.
FEW = 30

_Z = NormalDist().inv_cdf((1 + LEVEL / 100) / 2)


def intervals(
    labels: np.ndarray, predicted: np.ndarray, classes: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return 95 % intervals of `accuracy`, `macro_recall` and `macro_f1`. No interval is a point.

    Accuracy has Wilson's interval. The macro scores have percentile intervals of the bootstrap (Efron 1979), if there
    are at least `FEW` images and resamples show how the scores vary. They do not if a class has a single image, or if
    every class is either always right or always wrong.

    A resample holds N images, drawn with replacement from the N images. Images are drawn independently. Several
    images of one person or copies of one image are not drawn together, so a split with many of them has a wider
    true interval. The interval does not include the effect of another training `seed`.

    Args:
        labels: true classes, [N] integers from 0 to `classes` - 1. Without images there is no interval.
        predicted: predicted classes, [N] integers in the same range.
        classes: number of classes.
        resamples: number of resamples; with 0, only accuracy has an interval.
        seed: seed of the resamples.

    Returns:
        `low` and `high` of each score that has an interval, as fractions.
    """
    if not len(labels):
        return {}
    counts = _confusion(labels, predicted, classes)
    hits, true = counts.diagonal(), counts.sum(axis=1)
    bounds = {"accuracy": wilson(int(hits.sum()), len(labels))}
    varies = 1 not in true and ((hits > 0) & (hits < true)).any()
    if resamples and len(labels) >= FEW and varies:
        bounds |= _bootstrap(counts, resamples, seed)
    return {name: {"low": low, "high": high} for name, (low, high) in bounds.items() if low < high}


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Return the bounds of Wilson's 95 % interval of a share (Wilson 1927, "Probable Inference").

    Args:
        correct: number of correct images, at most `images`.
        images: number of images, at least one.
    """
    share, weight = correct / images, _Z**2 / images
    centre = (share + weight / 2) / (1 + weight)
    half = _Z * sqrt(share * (1 - share) / images + weight / (4 * images)) / (1 + weight)
    # Rounding must not put a bound beyond 0, 1 or the share itself.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def chance_gaps(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int, resamples: int, seed: int
) -> dict[str, float]:
    """Return the gap that chance alone makes between groups, for accuracy, macro recall and macro F1.

    The gap is the difference between the highest and the lowest score. 95 % of the gaps are at most this large if the
    network treats the images of a class alike, whatever their group. Each group keeps its number of images of each
    class: a group with many images of a difficult class has a low accuracy in the draws, too.

    Args:
        labels, predicted, classes, seed: as in `intervals`, of the images of all groups.
        groups: the group of each image, [N] integers.
        resamples: number of draws of all groups, at least one.
    """
    counts, rng = _confusion(labels, predicted, classes), np.random.default_rng(seed)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = []
    for group in np.unique(groups):
        images = np.bincount(labels[groups == group], minlength=classes)
        drawn.append(_scores(rng.multinomial(images, shares, size=(resamples, classes))))
    gaps = {name: np.ptp([scores[name] for scores in drawn], axis=0) for name in drawn[0]}
    return {name: float(np.percentile(values, LEVEL)) for name, values in gaps.items()}


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of images by true and predicted class, int [K, K]."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _bootstrap(counts: np.ndarray, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return the bounds of the macro scores for a confusion matrix, int [K, K].

    The scores depend only on the matrix, which is multinomial over resamples. Matrices are therefore drawn directly.
    """
    images, rng = counts.sum(), np.random.default_rng(seed)
    drawn = rng.multinomial(images, counts.ravel() / images, size=resamples)
    values = _scores(drawn.reshape(resamples, *counts.shape))
    tail = (100 - LEVEL) / 2
    bounds = {name: np.percentile(values[name], [tail, 100 - tail]) for name in ("macro_recall", "macro_f1")}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def _scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of confusion matrices with as many images each, int [B, K, K].

    A class without images is left out of its means, as in `metrics.headline`.
    """
    hits, true, named = matrices.diagonal(axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)
    # A class that does not occur adds 0 to the sums and is not counted.
    occurring = (true > 0).sum(axis=1)
    return {
        "accuracy": hits.sum(axis=1) / matrices[0].sum(),
        "macro_recall": (hits / np.maximum(true, 1)).sum(axis=1) / occurring,
        "macro_f1": (2 * hits / np.maximum(true + named, 1)).sum(axis=1) / occurring,
    }
