"""Confidence intervals of scores over other test images of the same kind: the bootstrap (Efron 1979)."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix

LEVEL = 95.0  # percent


def intervals(
    labels: np.ndarray, predicted: np.ndarray, classes: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return 95 % percentile bootstrap intervals of `accuracy`, `macro_recall` and `macro_f1`.

    A resample holds N images, drawn with replacement from the N images. Images are drawn independently. Several
    pictures of one person or copies of one picture are not drawn together, so a split with many of them has a wider
    true interval. The interval does not include the effect of another training `seed`.

    All three scores depend only on the confusion matrix, which is multinomial over resamples. Matrices are therefore
    drawn directly. A class without images in a resample is left out of its means, as in `metrics.headline`.

    Args:
        labels: true classes, [N] integers from 0 to `classes` - 1, at least one.
        predicted: predicted classes, [N] integers in the same range.
        classes: number of classes.
        resamples: number of resamples, at least one.
        seed: seed of the resamples.

    Returns:
        `low` and `high` of each score, as fractions.
    """
    shares = confusion_matrix(labels, predicted, labels=np.arange(classes)) / len(labels)
    drawn = np.random.default_rng(seed).multinomial(len(labels), shares.ravel(), size=resamples)
    matrices = drawn.reshape(resamples, classes, classes)
    hits, true, named = matrices.diagonal(axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)
    # A class that does not occur adds 0 to the sums and is not counted.
    occurring = (true > 0).sum(axis=1)
    values = {
        "accuracy": hits.sum(axis=1) / len(labels),
        "macro_recall": (hits / np.maximum(true, 1)).sum(axis=1) / occurring,
        "macro_f1": (2 * hits / np.maximum(true + named, 1)).sum(axis=1) / occurring,
    }
    tail = (100 - LEVEL) / 2
    bounds = {name: np.percentile(value, [tail, 100 - tail]) for name, value in values.items()}
    return {name: {"low": float(low), "high": float(high)} for name, (low, high) in bounds.items()}
