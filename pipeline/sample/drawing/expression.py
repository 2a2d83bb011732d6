"""Facial expressions as FACS action units (Ekman, Friesen and Hager, FACS Manual, 2002)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Intensity of each action unit on the left and the right side of the image, 0 (absent) to 1 (FACS level E).
ActionUnits = Mapping[int, tuple[float, float]]

# Action units of the expressions (Ekman's prototypes). Contempt is one-sided.
EXPRESSIONS: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "contempt": (12, 14),
}
ONE_SIDED = ("contempt",)


def expression(name: str, intensity: float, side: int = -1) -> ActionUnits:
    """Return the action units of a class of `EXPRESSIONS` at one intensity (0 to 1).

    Args:
        name: class name.
        intensity: of every action unit.
        side: side of the image with a one-sided expression, -1 or 1.
    """
    left = 0.0 if name in ONE_SIDED and side > 0 else intensity
    right = 0.0 if name in ONE_SIDED and side < 0 else intensity
    return dict.fromkeys(EXPRESSIONS[name], (left, right))


def combined(*parts: ActionUnits) -> dict[int, tuple[float, float]]:
    """Return the greatest intensity of each action unit on each side."""
    units = sorted({unit for part in parts for unit in part})
    strongest = {u: np.max([part.get(u, (0.0, 0.0)) for part in parts], axis=0) for u in units}
    return {u: (float(left), float(right)) for u, (left, right) in strongest.items()}
