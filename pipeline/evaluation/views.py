"""How a face is scored: the views whose probabilities are averaged, by name, and how many faces a pass takes."""

from __future__ import annotations

from pipeline.evaluation.crops import centre_crop, mirrored, ten_crop

VIEWS = {"centre": (centre_crop, 256), "mirror": (mirrored, 128), "ten": (ten_crop, 32)}
