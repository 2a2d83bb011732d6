"""Scores on `valid`, and which epoch they choose.

All scores follow from sums over the faces, so several processes can each score a part of them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import outputs
from pipeline.inference.samples import Samples
from pipeline.methods.models import Classifier

EpochFigures = dict[str, float]


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return the number of faces by true class (rows) and predicted class, float64 [K, K].

    Args:
        labels, predicted: class indices, int64 [N].
        classes: K.
    """
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.double().reshape(classes, classes)


def centre_logits(network: Classifier, samples: Samples, crop: int, precision: torch.dtype) -> Tensor:
    """Return the logits of the centre crops, float32 [N, K] on the CPU; the arguments are those of `outputs`."""
    crops, size = VIEWS["centre"]
    batches = outputs(network, samples.batches(size), crop, crops, precision)
    parts = [views[0].float().cpu() for views, _ in batches]
    return torch.cat([torch.empty(0, network.head.out_features), *parts])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the labels, summed over the faces, float64.

    Class weights, smoothing, shares of votes and distances to centres are left out, so runs with different losses can
    be compared.

    Args:
        logits: [N, K].
        labels: class indices, int64 [N].
    """
    return F.cross_entropy(logits.double(), labels, reduction="sum")


def scores(counts: Tensor) -> dict[str, float]:
    """Return `accuracy`, `macro_recall` and `macro_f1`, defined as in `pipeline.evaluation.metrics`.

    Args:
        counts: result of `confusion`, of at least one face. Means are over the classes that have faces.
    """
    table = counts.numpy()
    right, true, predicted = np.diag(table), table.sum(1), table.sum(0)
    some = true > 0
    return {
        "accuracy": float(right.sum() / table.sum()),
        "macro_recall": float((right[some] / true[some]).mean()),
        "macro_f1": float((2 * right[some] / (true[some] + predicted[some])).mean()),
    }


def rank(best: str, figures: EpochFigures) -> tuple[float, float]:
    """Return the key by which epochs are ranked: the score that `best` names, then the negative loss.

    The epoch with the largest key is the best; of several, the earliest.

    Args:
        best: `train.best`; not `last`.
        figures: of an epoch, `valid/loss` included.
    """
    loss = figures["valid/loss"]
    low = -loss if math.isfinite(loss) else -math.inf
    return (low if best == "loss" else figures[f"valid/{best}"], low)
