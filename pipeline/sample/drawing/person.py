"""A person: everything that stays the same from image to image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sample.drawing.canvas import linear
from pipeline.sample.drawing.geometry import Proportions

# Display colours, RGB 0 to 255.
_SKIN = [
    (252, 222, 205), (247, 208, 182), (240, 195, 165), (230, 180, 146), (216, 163, 126), (198, 142, 105),
    (178, 121, 86), (155, 101, 70), (131, 83, 58), (108, 68, 48),
]  # fmt: skip
_HAIR = [
    (28, 22, 20), (44, 32, 26), (66, 44, 30), (92, 62, 40), (128, 88, 54), (172, 132, 84), (204, 172, 120),
    (140, 66, 36),
]  # fmt: skip
_GREY = (176, 174, 172)
_IRIS = [(62, 38, 22), (84, 54, 30), (104, 78, 44), (98, 112, 74), (78, 104, 132), (104, 132, 150)]
_FRAMES = [(24, 24, 28), (60, 40, 26), (120, 28, 34), (40, 52, 84), (150, 150, 156)]
STYLES = ("short", "side", "crop", "curly", "fringe", "bob", "long", "bun", "receding", "bald")


@dataclass(frozen=True)
class Person:
    """An identity. Colours are linear light."""

    proportions: Proportions
    age: float  # 0 (child of about ten) to 1 (old)
    skin: np.ndarray
    blush: float  # redness of cheeks and nose, 0 to 1
    lips: np.ndarray
    iris: np.ndarray
    hair: np.ndarray
    brows: np.ndarray
    style: str  # one of STYLES
    parting: float  # position of the parting, -1 (left) to 1
    volume: float  # of the hair, units
    beard: float  # 0 (shaved) to 1 (full)
    moustache: float
    freckles: float
    lashes: float  # darkness of the lashes, 0 to 1
    glasses: tuple[str, np.ndarray] | None  # shape of the rims and colour
    texture: int  # seed of random details: pores, strands of hair


def person(rng: np.random.Generator) -> Person:
    """Return a random person."""
    uniform = rng.uniform
    female = rng.random() < 0.5
    age = float(np.clip(rng.beta(1.6, 2.2), 0, 1))
    child = max(0.0, 0.22 - age) / 0.22
    tone = uniform(0, len(_SKIN) - 1)
    skin = _between(_SKIN, tone)

    def around(spread: float) -> float:
        return float(np.clip(rng.normal(1, spread), 1 - 2 * spread, 1 + 2 * spread))

    proportions = Proportions(
        width=around(0.035),
        jaw=around(0.05) * (0.96 if female else 1.04) * (1 - 0.04 * child),
        chin=around(0.06) * (0.96 if female else 1.03) * (1 - 0.10 * child),
        eye_spacing=around(0.035),
        eye_size=around(0.05) * (1.05 if female else 1.0) * (1 + 0.10 * child),
        eye_opening=around(0.10),
        eye_tilt=float(uniform(-0.006, 0.022)),
        brow_height=around(0.06) * (1.05 if female else 0.97),
        brow_thickness=around(0.18) * (0.8 if female else 1.1),
        brow_arch=around(0.3) * (1.2 if female else 0.8),
        nose_length=around(0.05) * (0.96 if female else 1.02) * (1 - 0.06 * child),
        nose_width=around(0.09) * (0.93 if female else 1.03) * (1 + 0.015 * tone),
        nose_depth=around(0.15) * (1 - 0.3 * child),
        mouth_width=around(0.05),
        upper_lip=around(0.14) * (1.1 if female else 0.95) * (1 + 0.03 * tone),
        lower_lip=around(0.12) * (1.08 if female else 0.95) * (1 + 0.03 * tone),
    )
    dark_hair = tone > 4 or rng.random() < 0.35
    hair = _between(_HAIR, float(uniform(0, 2) if dark_hair else uniform(0, len(_HAIR) - 1)))
    grey = float(np.clip((age - 0.6) * 2.4 + rng.normal(0, 0.25), 0, 1))
    brows = linear(hair * 0.55 + 0.45 * np.array(_HAIR[0])) * (1 - 0.2 * grey) + 0.2 * grey * linear(_GREY)
    hair_colour = linear(hair) * (1 - grey) + grey * linear(_GREY)
    if female:
        style = str(rng.choice(["bob", "long", "bun", "fringe", "curly", "side", "long"]))
    else:
        style = str(rng.choice(["short", "side", "crop", "curly", "short", "side", "receding", "bald"]))
    if age < 0.45 and style in ("receding", "bald"):
        style = "short"
    bearded = not female and age > 0.25 and rng.random() < 0.35
    makeup = female and age > 0.2 and rng.random() < 0.5
    red = np.array([176, 62, 70]) if makeup else np.array([168, 92, 84])
    return Person(
        proportions=proportions,
        age=age,
        skin=linear(skin),
        blush=float(uniform(0.2, 0.8)),
        lips=linear(skin * uniform(0.35, 0.55) + red * 0.5)
        if not makeup
        else linear(skin * 0.25 + red * 0.72),
        iris=linear(_between(_IRIS, float(uniform(0, 1.5) if dark_hair else uniform(0, len(_IRIS) - 1)))),
        hair=hair_colour,
        brows=brows,
        style=style,
        parting=float(rng.choice([-1, 1]) * uniform(0.3, 0.7)),
        volume=float(uniform(0.07, 0.15)),
        beard=float(uniform(0.45, 1.0))
        if bearded
        else (0.0 if female or age < 0.25 else float(uniform(0, 0.18))),
        moustache=float(uniform(0.4, 0.9)) if bearded and rng.random() < 0.6 else 0.0,
        freckles=float(uniform(0.3, 1)) if tone < 4 and rng.random() < 0.2 else 0.0,
        lashes=float(uniform(0.75, 1.0) if female else uniform(0.35, 0.6)),
        glasses=(str(rng.choice(["round", "square"])), linear(_FRAMES[rng.integers(len(_FRAMES))]))
        if rng.random() < 0.13 + 0.12 * age
        else None,
        texture=int(rng.integers(2**31)),
    )


def _between(colours: list[tuple[int, int, int]], position: float) -> np.ndarray:
    i = min(int(position), len(colours) - 2)
    share = position - i
    return np.array(colours[i], float) * (1 - share) + np.array(colours[i + 1], float) * share
