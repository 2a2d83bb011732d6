"""Nearest training faces of generated faces, to find faces that the generator has memorised.

The distance between two faces is the root mean square difference of their pixels, after each face is scaled to mean 0
and standard deviation 1. It is 0 for faces that differ only in brightness and contrast, and 1.41 for unrelated faces. A
face of one colour becomes 0 everywhere and has a distance of 1 from any other face. The distance to a training face is
the smaller of the distances to the face and to its mirror image, since a memorised mirror image is no new face.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 256  # faces that are compared with all training faces at the same time
# Further candidates whose distances are computed exactly. Products in float32 confuse distances that differ by 0.001.
SPARE = 4


def nearest(
    faces: np.ndarray, training: np.ndarray, k: int = 1, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest training faces of each face, nearest first; ties are in the order of `training`.

    Args:
        faces: uint8 [n, H, W, C].
        training: uint8 [M, H, W, C].
        k: number of neighbours; lowered if there are fewer training faces.
        same: whether `faces` are the training faces. A face is then not its own neighbour, but an equal face can be.

    Returns:
        Distances, float32 [n, k], and indices into `training`, int64 [n, k].
    """
    k = max(0, min(k, len(training) - same))
    distances, rows = np.zeros((len(faces), k), np.float32), np.zeros((len(faces), k), np.int64)
    if k == 0:
        return distances, rows
    count = min(k + SPARE, len(training) - same)
    known = _flat(_standardised(training))
    half = np.square(known).sum(axis=1) / 2
    for start in range(0, len(faces), BLOCK):
        block = _standardised(faces[start : start + BLOCK])
        views = _flat(block), _flat(block[:, :, ::-1])
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, where |a|^2 is the same for all b.
        closeness = np.maximum(views[0] @ known.T, views[1] @ known.T) - half
        if same:
            np.fill_diagonal(closeness[:, start:], -np.inf)
        candidates = np.argpartition(closeness, -count, axis=1)[:, -count:]
        # From differences: products of equal faces do not cancel exactly.
        exact = np.stack([_difference(views, known[column]) for column in candidates.T], axis=1)
        order = np.lexsort((candidates, exact))[:, :k]
        distances[start : start + BLOCK] = np.take_along_axis(exact, order, axis=1)
        rows[start : start + BLOCK] = np.take_along_axis(candidates, order, axis=1)
    return distances, rows


def memorisation(faces: np.ndarray, training: np.ndarray) -> dict[str, Any]:
    """Compare the distances of generated and of training faces to the nearest (other) training face.

    Args:
        faces: generated faces, uint8 [n, H, W, C].
        training: training faces, uint8 [M, H, W, C].

    Returns:
        - `nearest.generated|training`: `median` and `low` (5th percentile) of the distances.
        - `memorised`: share of the generated faces whose distance is at most the 1st percentile of the training
          faces' distances. It is about 0.01 for new faces of the same kind.

        Values are None without generated faces or with fewer than 2 training faces.
    """
    generated = nearest(faces, training)[0].ravel()
    among = nearest(training, training, same=True)[0].ravel()
    # At most, not below: if the training set holds copies the limit is 0, and so is the distance of a copy.
    memorised = generated <= np.percentile(among, 1) if len(among) else []
    return {
        "nearest": {"generated": _summary(generated), "training": _summary(among)},
        "memorised": float(np.mean(memorised)) if len(memorised) else None,
    }


def _summary(distances: np.ndarray) -> dict[str, float | None]:
    if not len(distances):
        return {"median": None, "low": None}
    return {"median": float(np.median(distances)), "low": float(np.percentile(distances, 5))}


def _standardised(faces: np.ndarray) -> np.ndarray:
    """Return faces with mean 0 and standard deviation 1, float32 [n, H, W, C]; a face of one value becomes 0."""
    pixels = faces.astype(np.float32)
    # Means are computed in float64.
    pixels -= faces.mean(axis=(1, 2, 3), dtype=np.float64, keepdims=True)
    variance = np.square(pixels).mean(axis=(1, 2, 3), dtype=np.float64, keepdims=True)
    pixels /= np.sqrt(np.where(variance > 0, variance, 1))
    return pixels


def _flat(faces: np.ndarray) -> np.ndarray:
    return faces.reshape(len(faces), -1)


def _difference(views: tuple[np.ndarray, np.ndarray], others: np.ndarray) -> np.ndarray:
    """Return the distance of each face to the other face in its row, in the nearer of two views, float64 [n]."""
    squared = [np.square(view - others).mean(axis=1, dtype=np.float64) for view in views]
    return np.sqrt(np.minimum(*squared))
