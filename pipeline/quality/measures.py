"""All measures of generated faces, and the FID of other sets of faces for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.quality.distances import diversity, fid, kid, prdc
from pipeline.quality.neighbours import memorisation


@dataclass(frozen=True)
class FaceSet:
    """Faces and their features.

    Attributes:
        faces: uint8 [N, H, W, C].
        features: float64 [N, D].
    """

    faces: np.ndarray
    features: np.ndarray


def measures(training: FaceSet, generated: FaceSet, others: dict[str, FaceSet]) -> dict[str, Any]:
    """Return every measure that compares generated faces with the training faces of their class.

    Args:
        training: the GAN's training faces.
        generated: the generated faces.
        others: other sets by name; `fid_<name>` is their FID against the training faces.
    """
    real = training.features
    return {
        "fid": fid(real, generated.features),
        **{f"fid_{name}": fid(real, other.features) for name, other in others.items()},
        "kid": kid(real, generated.features),
        **prdc(real, generated.features),
        "diversity": {"generated": diversity(generated.features), "training": diversity(real)},
        **memorisation(generated.faces, training.faces),
    }


def recognised(chances: np.ndarray, label: int) -> float | None:
    """Return the share of faces whose most probable class is `label`; `chances` is [N, K]. None without faces."""
    return float((chances.argmax(axis=1) == label).mean()) if len(chances) else None
