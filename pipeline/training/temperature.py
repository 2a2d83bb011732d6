"""Temperature scaling: one number, fitted on `valid`, that brings confidence close to accuracy.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. The logits are divided by a temperature,
which no ranking of classes notices. Here the last layer is divided by it, so the model file, its export and every
prediction have it without knowing of it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from pipeline.inference.samples import Samples
from pipeline.methods.models import Classifier
from pipeline.training.validation import centre_logits, cross_entropy

# Between them, a confidence of 0.9 of two classes becomes 0.5 or 1.
LIMITS = (0.01, 100.0)


def fitted(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature, within `LIMITS`, at which the cross-entropy of the labels is lowest.

    Args:
        logits: [N, K], at least one row.
        labels: class indices, int64 [N].
    """
    found = minimize_scalar(
        lambda power: cross_entropy(logits.double() / np.exp(power), labels).item() / len(labels),
        bounds=np.log(LIMITS),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(found.x))


def scale(network: Classifier, valid: Samples, crop: int, precision: torch.dtype) -> float:
    """Fit the temperature on the centre crops of `valid`, divide the network's last layer by it, and return it.

    Args:
        network: with its final weights.
        valid: at least one face.
        crop: side of the network's input in pixels.
        precision: of the forward passes.
    """
    temperature = fitted(centre_logits(network, valid, crop, precision), valid.labels)
    with torch.no_grad():
        for tensor in network.head.parameters():
            tensor.div_(temperature)
    return temperature
