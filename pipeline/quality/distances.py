"""How far generated faces are from real ones, in features of a network; and noise as the worst that can be done.

`real` is float [N, D] and `generated` float [M, D], one row of D >= 2 features for each face. What so few faces leave
undefined is None. FID and KID are torch-fidelity's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

SUBSET, SUBSETS = 1000, 100  # faces of a subset and how many subsets KID is averaged over, as is usual
BLOCK = 512  # rows whose distances to all others exist at a time: 10,000 others are 40 MB


def frechet(real: np.ndarray, generated: np.ndarray) -> float | None:
    """Return FID, the Fréchet distance between Gaussians fitted to the two sets (Heusel et al. 2017).

    It is biased upwards, the more the fewer faces there are: compare only sets of equal sizes. Below 2 faces on
    either side it is None.
    """
    if min(len(real), len(generated)) < 2:
        return None
    statistics = [fid_features_to_statistics(_tensor(features)) for features in (real, generated)]
    # Of sets that are equal, rounding can leave a little less than nothing.
    return max(0.0, fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kernel(real: np.ndarray, generated: np.ndarray, seed: int = 0) -> float | None:
    """Return KID, the squared maximum mean discrepancy under the kernel (x.y / D + 1)^3 (Bińkowski et al. 2018).

    It is unbiased, so of equal distributions as often below 0 as above. It is the mean over subsets of both sets
    drawn by `seed`, as large as the smaller set and at most 1,000 faces. Below 2 faces on either side it is None.
    """
    size = min(len(real), len(generated), SUBSET)
    if size < 2:
        return None
    found = kid_features_to_metric(
        _tensor(real),
        _tensor(generated),
        # Where a subset is all there is, another is the same.
        kid_subsets=1 if size == max(len(real), len(generated)) else SUBSETS,
        kid_subset_size=size,
        rng_seed=seed,
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN]


def manifold(real: np.ndarray, generated: np.ndarray, k: int = 5) -> dict[str, float | None]:
    """Compare the two sets as unions of balls, one around each face, which reach to its k-th nearest of its set.

    k is lowered to what the smaller set has; where a set has no two faces, all values are None. A face on the
    edge of a ball is outside, as in the code of Naeem et al.

    Returns:
        - `precision`: share of the generated faces inside a real ball; `recall`: share of the real faces inside
          a generated one (Kynkäänniemi et al. 2019).
        - `density`: in how many real balls a generated face is, on average, divided by k: can exceed 1;
          `coverage`: share of the real balls with a generated face inside (Naeem et al. 2020).
    """
    k = min(k, len(real) - 1, len(generated) - 1)
    if k < 1:
        return dict.fromkeys(("precision", "recall", "density", "coverage"))
    reach_real, reach_generated = _reach(real, k), _reach(generated, k)
    holding = np.zeros(len(generated), np.int64)  # real balls around each generated face
    recalled = covered = 0
    for start, distances in _distances(real, generated):
        reach = reach_real[start : start + BLOCK, None]
        distances = distances.astype(np.float32)
        inside = distances < reach
        holding += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int((distances < reach_generated).any(axis=1).sum())
    return {
        "precision": float((holding > 0).mean()),
        "recall": recalled / len(real),
        "density": float(holding.mean() / k),
        "coverage": covered / len(real),
    }


def diversity(features: np.ndarray) -> float | None:
    """Return the mean Euclidean distance between two faces of a set, float [N, D]; None below 2 faces."""
    count = len(features)
    if count < 2:
        return None
    total = sum(float(distances.sum()) for _, distances in _distances(features, features))
    return total / (count * (count - 1))


def gaussian(faces: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return Gaussian noise with the mean and the variance that each pixel has in some faces.

    Each pixel is drawn by itself: what a face is more than its pixels is missing, so a generator must do better.

    Args:
        faces: uint8 [N, H, W, C], at least one.
        count: how many to draw.
        seed: of the noise.

    Returns:
        uint8 [count, H, W, C], rounded and clipped.
    """
    rng = np.random.default_rng(seed)
    # Sums of whole numbers: exact, and without the faces in double precision.
    total = faces.sum(axis=0, dtype=np.int64)
    squares = np.einsum("n...,n...->...", faces, faces, dtype=np.int64)
    mean, deviation = total / len(faces), np.sqrt(len(faces) * squares - total**2) / len(faces)
    drawn = np.empty((count, *faces.shape[1:]), np.uint8)
    for noise in drawn:
        noise[:] = (mean + deviation * rng.standard_normal(mean.shape)).round().clip(0, 255)
    return drawn


def _tensor(features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(features, np.float64))


def _reach(features: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each row to its k-th nearest other row, float32 [N]."""
    # Equal distances, rounded differently in different products, are equal in single precision.
    reach = np.empty(len(features), np.float32)
    for start, distances in _distances(features, features):
        # A row is at distance 0 from itself, so the k-th other is the one with k before it.
        reach[start : start + BLOCK] = np.partition(distances, k, axis=1)[:, k]
    return reach


def _distances(features: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row of a block and the Euclidean distances of its rows to all others, float64 [b, M]."""
    features, others = np.asarray(features, np.float64), np.asarray(others, np.float64)
    squares = np.square(others).sum(axis=1)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        both = np.square(block).sum(axis=1)[:, None] + squares
        squared = both - 2 * (block @ others.T)
        # That little is rounding: the two are the same.
        squared[squared < 1e-12 * both] = 0
        yield start, np.sqrt(squared)
