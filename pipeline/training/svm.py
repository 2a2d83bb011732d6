"""A linear support vector machine as the last layer of a network whose other weights stay fixed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.inference.crops import VIEWS
from pipeline.inference.probabilities import outputs
from pipeline.inference.samples import Samples
from pipeline.methods.models import Classifier
from pipeline.tables.paths import LABELS
from pipeline.training import validation
from pipeline.training.validation import EpochFigures


def fit_head(
    network: Classifier,
    train: Samples,
    valid: Samples | None,
    classes: list[str],
    cost: float,
    seed: int,
    crop: int,
    precision: torch.dtype,
) -> EpochFigures:
    """Replace the last layer by a linear SVM trained on features of centre crops, and return the figures.

    Yan et al. (the GAN augmentation paper) use scikit-learn's `LinearSVC`: one class against the rest, squared hinge
    loss. The logits are its decision values, so their softmax is not a calibrated probability.

    Args:
        network: on the device of the run.
        train: samples to learn from, by their labels; `targets` are not used.
        valid: samples to score; None if there are none.
        classes: K names in the order of the logits.
        cost: `C` of `LinearSVC`.
        seed: of `LinearSVC`.
        crop: side of the network's input in pixels.
        precision: of the features.

    Returns:
        `train/loss` and `train/accuracy`; with a split valid also `valid/accuracy`, `valid/macro_recall` and
        `valid/macro_f1`. The loss of a sample is the sum of the squared hinge losses of all classes. `train/loss` is
        the mean over the samples.

    Raises:
        UserError: all training faces have the same class.
    """

    def features(samples: Samples, desc: str) -> np.ndarray:
        crops, size = VIEWS["centre"]
        batches = samples.to(network.head.weight.device).batches(size, desc)
        parts = [seen[0].float().cpu() for _, seen in outputs(network, batches, crop, crops, precision)]
        return torch.cat(parts).numpy()

    labels = train.labels.numpy()
    if len(np.unique(labels)) < 2:
        only = classes[labels[0]]
        raise UserError.of(LABELS, f"only {only} in split train", "at least two classes")
    learned = features(train, "features of train")
    from sklearn.svm import LinearSVC  # here, because it loads longer than torch and few runs use it

    machine = LinearSVC(C=cost, random_state=seed)
    machine.fit(learned, labels)
    _set_head(network.head, machine.classes_, machine.coef_, machine.intercept_)

    logits = _logits(network.head, learned)
    margins = 1 - np.where(labels[:, None] == np.arange(len(classes)), 1, -1) * logits
    figures = {
        "train/loss": float((np.maximum(margins, 0) ** 2).sum(1).mean()),
        "train/accuracy": float((logits.argmax(1) == labels).mean()),
    }
    if valid is not None:
        predicted = torch.from_numpy(_logits(network.head, features(valid, "features of valid")).argmax(1))
        counts = validation.confusion(valid.labels, predicted, len(classes))
        figures |= {f"valid/{name}": score for name, score in validation.scores(counts).items()}
    return figures


@torch.no_grad()
def _set_head(head: nn.Linear, classes: np.ndarray, planes: np.ndarray, offsets: np.ndarray) -> None:
    weight, bias = torch.from_numpy(planes), torch.from_numpy(offsets)
    if len(classes) == 2:  # one plane, whose positive side is the second class
        weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
    head.bias.fill_(-torch.inf)  # a class without training faces has no plane, and a probability of zero
    head.weight[classes] = weight.to(head.weight)
    head.bias[classes] = bias.to(head.bias)


def _logits(head: nn.Linear, features: np.ndarray) -> np.ndarray:
    weight, bias = (tensor.detach().cpu().numpy() for tensor in head.parameters())
    return features @ weight.T + bias
