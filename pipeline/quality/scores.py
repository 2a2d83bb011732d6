"""All measures of a set of generated faces, beside what they would be for other sets of faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.quality.distances import diversity, frechet, kernel, manifold
from pipeline.quality.neighbours import memorisation


@dataclass(frozen=True)
class Seen:
    """Faces and what a network makes of them.

    Attributes:
        faces: uint8 [N, H, W, C].
        features: float64 [N, D].
    """

    faces: np.ndarray
    features: np.ndarray


def scores(training: Seen, generated: Seen, others: dict[str, Seen]) -> dict[str, Any]:
    """Return every measure of generated faces that compares them with the training faces of their class.

    Args:
        training: the real faces that the GAN has learned from.
        generated: N of them.
        others: sets to compare with, by name: `fid_<name>` is their distance from the training faces.
    """
    found: dict[str, Any] = {"fid": frechet(training.features, generated.features)}
    found |= {f"fid_{name}": frechet(training.features, seen.features) for name, seen in others.items()}
    found["kid"] = kernel(training.features, generated.features)
    found |= manifold(training.features, generated.features)
    found["diversity"] = {
        "generated": diversity(generated.features),
        "training": diversity(training.features),
    }
    return found | memorisation(generated.faces, training.faces)


def recognised(chances: np.ndarray, label: int) -> float | None:
    """Return the share of faces whose likeliest class is the intended one; `chances` is [N, K]."""
    return float((chances.argmax(axis=1) == label).mean()) if len(chances) else None
