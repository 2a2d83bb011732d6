"""Center loss: softmax cross-entropy plus the distance of features from the centre of their class.

Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016; equations 2 and 3 of the
weighted-cluster paper (Ngo & Yoon 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.methods.losses import Loss
from pipeline.methods.losses.parts.centers import CenterLoss
from pipeline.params.losses import CenterSettings


def build(settings: CenterSettings, counts: Tensor, features: int) -> Loss:
    """Return softmax cross-entropy + weight / 2 * ||x - c_y||^2, see `CenterLoss`."""
    ones = torch.ones_like(counts, dtype=torch.float32)
    return CenterLoss(settings, features, ones, ones)
