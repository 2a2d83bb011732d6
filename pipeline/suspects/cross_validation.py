"""Score every training face with a classifier that has not seen it."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.core.progress import note
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import probabilities
from pipeline.inference.samples import Samples
from pipeline.training.judge import trained

CHECKPOINTED = 15.0  # seconds between checkpoints
# Of a classifier's training, if the user names no number of epochs: so many, or as many as show so many faces.
EPOCHS, FACES = 4, 20_000


def usual_epochs(count: int) -> int:
    """Return the number of epochs for `count` faces."""
    return max(EPOCHS, -(-FACES // count))


def held_out_probabilities(
    samples: Samples,
    folds: np.ndarray,
    classes: list[str],
    seed: int,
    epochs: int,
    device: torch.device,
    precision: torch.dtype,
) -> np.ndarray:
    """Return the probabilities of each face, float32 [N, K], from the classifier that learned from the other folds.

    The classifiers are those that judge synthetic faces: small, with settings of their own. They stay in
    `models/judges`, so a run that was killed goes on where it stopped, and a finished one is not repeated.

    Args:
        samples: N faces.
        folds: the fold of each, int [N].
        classes: K names in the order of the labels.
        seed: of the training.
        epochs: of the training.
        device: of the training.
        precision: of the forward passes in training. The held-out faces are scored in float32.
    """
    crops, size = VIEWS["mirror"]
    result = np.empty((len(samples), len(classes)), np.float32)
    count = int(folds.max()) + 1
    for fold in range(count):
        note(f"suspects: fold {fold + 1} of {count}")
        others, own = (np.flatnonzero(chosen) for chosen in (folds != fold, folds == fold))
        judge = trained(samples.at(others), classes, seed, fold, epochs, device, precision, CHECKPOINTED)
        held_out = samples.at(own).to(device)
        result[own] = probabilities(judge.network, held_out.batches(size), judge.crop, crops)
    return result
