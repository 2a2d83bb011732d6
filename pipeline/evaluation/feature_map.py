"""A map of features in two dimensions: the plane on which the features of training faces spread most (PCA)."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

FACES = 2048  # faces that the plane is fitted to; more of them hardly turn it


def spread(count: int) -> np.ndarray:
    """Return up to `FACES` indices of `count` faces, evenly spread, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, FACES)).astype(np.int64))


def fit(features: np.ndarray) -> PCA:
    """Return the plane of some features, float [N, D] with at least one row; `transform` maps [M, D] to [M, 2].

    Equal features give the same plane, also the same way up.
    """
    rows = features if len(features) > 1 else np.repeat(features, 2, axis=0)
    with np.errstate(invalid="ignore"):  # equal rows have no variance to share out
        return PCA(2, random_state=0).fit(rows)
