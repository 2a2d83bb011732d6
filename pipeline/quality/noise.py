"""Noise with the statistics of real faces: the lowest bar for a generator."""

from __future__ import annotations

import numpy as np


def gaussian_noise(faces: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return Gaussian noise with the mean and variance of each pixel over the given faces.

    Pixels are independent of each other, so the noise lacks everything that relates them. A generator must do better.

    Args:
        faces: uint8 [N, H, W, C], at least one.
        count: number of noise images.
        seed: seed of the noise.

    Returns:
        uint8 [count, H, W, C], rounded and clipped.
    """
    rng = np.random.default_rng(seed)
    # Integer sums are exact and need no copy of the faces in float64.
    total = faces.sum(axis=0, dtype=np.int64)
    squares = np.einsum("n...,n...->...", faces, faces, dtype=np.int64)
    mean, deviation = total / len(faces), np.sqrt(len(faces) * squares - total**2) / len(faces)
    images = np.empty((count, *faces.shape[1:]), np.uint8)
    for image in images:
        image[:] = (mean + deviation * rng.standard_normal(mean.shape)).round().clip(0, 255)
    return images
