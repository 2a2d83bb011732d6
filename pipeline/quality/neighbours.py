"""Whether generated faces are remembered ones: how near they are to the training faces, in pixels.

The distance between two faces is the root mean square difference of their pixels, each face brought to mean 0 and
deviation 1 first: 0 is the same face up to brightness and contrast, 1.41 a face that has nothing to do with the
other. A face of one even colour is 0 throughout, so 1 from any other. Of a training face and its mirror image the
nearer one counts: what was learned by heart from either is no new face.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 256  # faces that are compared with all training faces at a time
# Products in single precision confuse faces whose distances differ by a thousandth: so many more are looked at closely.
SPARE = 4


def nearest(
    faces: np.ndarray, training: np.ndarray, k: int = 1, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest training faces of each face, the nearest first, of equals the first in the table.

    Args:
        faces: uint8 [n, H, W, C].
        training: uint8 [M, H, W, C].
        k: how many; fewer where there are fewer.
        same: `faces` are the training faces: none is its own neighbour, but an equal other one is.

    Returns:
        Distances, float32 [n, k], and places in `training`, int64 [n, k].
    """
    k = max(0, min(k, len(training) - same))
    distances, rows = np.zeros((len(faces), k), np.float32), np.zeros((len(faces), k), np.int64)
    if k == 0:
        return distances, rows
    looked_at = min(k + SPARE, len(training) - same)
    known = _flat(_standardised(training))
    half = np.square(known).sum(axis=1) / 2
    for start in range(0, len(faces), BLOCK):
        block = _standardised(faces[start : start + BLOCK])
        views = _flat(block), _flat(block[:, :, ::-1])
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, of which |a|^2 is the same for all b.
        closeness = np.maximum(views[0] @ known.T, views[1] @ known.T) - half
        here = np.arange(len(block))
        if same:
            closeness[here, start + here] = -np.inf
        found = np.argpartition(closeness, -looked_at, axis=1)[:, -looked_at:]
        # By differences: of equal faces the products above leave something.
        exact = np.stack([_difference(views, known[column]) for column in found.T], axis=1)
        order = np.lexsort((found, exact))[:, :k]
        distances[start : start + BLOCK] = np.take_along_axis(exact, order, axis=1)
        rows[start : start + BLOCK] = np.take_along_axis(found, order, axis=1)
    return distances, rows


def memorisation(faces: np.ndarray, training: np.ndarray) -> dict[str, Any]:
    """Compare how near generated and training faces are to the nearest (other) training face.

    Args:
        faces: generated, uint8 [n, H, W, C].
        training: uint8 [M, H, W, C].

    Returns:
        - `nearest.generated|training`: `median` and `low` (5th percentile) of the distances.
        - `memorised`: share of the generated faces that are nearer than all but one in a hundred training faces
          are to each other: about 0.01 for new faces of the same kind.

        None where there are no generated faces, or no two training faces.
    """
    generated = nearest(faces, training)[0].ravel()
    among = nearest(training, training, same=True)[0].ravel()
    # "As near" counts: where the training set has its own copies, the limit is 0, and a copy is at 0.
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
    """Return faces with mean 0 and deviation 1, float32 [n, H, W, C]; those of one value are 0 throughout."""
    pixels = faces.astype(np.float32)
    # Added up in double precision.
    pixels -= faces.mean(axis=(1, 2, 3), dtype=np.float64, keepdims=True)
    variance = np.square(pixels).mean(axis=(1, 2, 3), dtype=np.float64, keepdims=True)
    pixels /= np.sqrt(np.where(variance > 0, variance, 1))
    return pixels


def _flat(faces: np.ndarray) -> np.ndarray:
    return faces.reshape(len(faces), -1)


def _difference(views: tuple[np.ndarray, np.ndarray], others: np.ndarray) -> np.ndarray:
    """Return the distance of each face, in the nearer of its two views, to the other of its row, float64 [n]."""
    squared = [np.square(view - others).mean(axis=1, dtype=np.float64) for view in views]
    return np.sqrt(np.minimum(*squared))
