"""How far a score could move with other test images of the same kind: the bootstrap (Efron 1979)."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix

LEVEL = 95.0  # percent


def intervals(
    labels: np.ndarray, predicted: np.ndarray, classes: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return 95 % percentile bootstrap intervals of `accuracy`, `macro_recall` and `macro_f1`.

    A resample is N images drawn with replacement from the N there are. What is drawn are images, each by itself:
    pictures of one person, or copies of one picture, are not kept together, so where a split has many of them the
    true interval is wider. Nor does it cover what another `seed` of the training would change.

    Images of one true and one predicted class count alike in all three scores, so the confusion matrix of a
    resample is all that is needed: it is multinomial, and drawn as such. A class of which a resample holds no image
    is left out of its means, as `metrics.headline` does.

    Args:
        labels: true classes, [N] integers from 0 to `classes` - 1, at least one.
        predicted: predicted classes, the same.
        classes: K.
        resamples: how many, at least one.
        seed: equal arguments give equal intervals.

    Returns:
        `low` and `high` of each score, fractions.
    """
    shares = confusion_matrix(labels, predicted, labels=np.arange(classes)) / len(labels)
    drawn = np.random.default_rng(seed).multinomial(len(labels), shares.ravel(), size=resamples)
    matrices = drawn.reshape(resamples, classes, classes)
    right, true, said = matrices.diagonal(axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)
    # A class that does not occur adds nothing to the sums and is not counted.
    occurring = (true > 0).sum(axis=1)
    values = {
        "accuracy": right.sum(axis=1) / len(labels),
        "macro_recall": (right / np.maximum(true, 1)).sum(axis=1) / occurring,
        "macro_f1": (2 * right / np.maximum(true + said, 1)).sum(axis=1) / occurring,
    }
    tail = (100 - LEVEL) / 2
    bounds = {name: np.percentile(value, [tail, 100 - tail]) for name, value in values.items()}
    return {name: {"low": float(low), "high": float(high)} for name, (low, high) in bounds.items()}
