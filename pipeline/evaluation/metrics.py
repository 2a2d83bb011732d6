"""The scores of the papers, computed by scikit-learn and krippendorff; here stand only the conventions.

- Fractions between 0 and 1 (agreement coefficients reach below 0). A value that is not defined is None, never
  NaN, so that it is valid JSON.
- A class that does not occur in the truth has no recall and no curve. It is left out of every mean over
  classes; what was wrongly predicted as that class still counts against the classes it was taken from.
- Kappa and alpha are those of the whole table of classes. The weighted-cluster paper says that they are means
  of two-class values, but every kappa it prints is the multi-class one of the accuracy beside it.
"""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipeline.evaluation.calibration import calibration_error


def scores(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Score the predictions of one split.

    Args:
        labels: true class of each image, [N] integers from 0 to K - 1, at least one.
        probabilities: [N, K], rows sum to 1. Predicted is the most probable class, the first one on a tie.
        classes: K names, in label order.

    Returns:
        - `images`: N.
        - `accuracy`; `macro_recall` (the MixAugment paper's average accuracy) and `macro_f1`.
        - `kappa`: Cohen's; `alpha`: Krippendorff's, nominal. Truth and prediction are the two annotators.
          None if both name one and the same class for every image: agreement by chance is then certain.
        - `auc`, `auc_pr`: area under the ROC and the precision-recall curve of each class against the others,
          averaged over classes. The latter is average precision, a sum of steps: a straight line between the
          points of that curve overstates it (Davis & Goadrich 2006, whom the weighted-cluster paper cites).
        - `ece`: expected calibration error.
        - `per_class.<class>`: `precision` (None if never predicted), `recall`, `f1`, `support` (images), `auc`,
          `auc_pr`.
        - `confidence.correct|wrong`: `mean` and `median` probability of the predicted class.
    """
    # numpy adds single precision up in single precision.
    probabilities = np.asarray(probabilities, np.float64)
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = _per_class(labels, predicted, classes)
    # A curve needs images of the class and images of another.
    curves = {
        k: (labels == k, probabilities[:, k]) for k in range(len(classes)) if 0 < support[k] < len(labels)
    }
    auc = {k: float(roc_auc_score(*curve)) for k, curve in curves.items()}
    auc_pr = {k: float(average_precision_score(*curve)) for k, curve in curves.items()}
    kappa, alpha = _agreement(labels, predicted)
    confidence = probabilities.max(axis=1)
    return {
        **headline(labels, predicted, classes),
        "kappa": kappa,
        "alpha": alpha,
        "auc": _mean(list(auc.values())),
        "auc_pr": _mean(list(auc_pr.values())),
        "ece": calibration_error(labels, probabilities),
        "per_class": {
            name: {
                "precision": _defined(precision[k]),
                "recall": _defined(recall[k]),
                "f1": _defined(f1[k]),
                "support": int(support[k]),
                "auc": auc.get(k),
                "auc_pr": auc_pr.get(k),
            }
            for k, name in enumerate(classes)
        },
        "confidence": {
            "correct": _centre(confidence[predicted == labels]),
            "wrong": _centre(confidence[predicted != labels]),
        },
    }


def headline(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Return `images`, `accuracy`, `macro_recall` and `macro_f1` of predicted classes, both [N] integers.

    N may be 0, of a part of a split: the scores are then None. Means are over the classes that occur.
    """
    if not len(labels):
        return {"images": 0, "accuracy": None, "macro_recall": None, "macro_f1": None}
    _, recall, f1, support = _per_class(labels, predicted, classes)
    return {
        "images": len(labels),
        "accuracy": _mean(labels == predicted),
        "macro_recall": _mean(recall[support > 0]),
        "macro_f1": _mean(f1[support > 0]),
    }


def _per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> tuple[np.ndarray, ...]:
    """Return precision, recall, F1 and number of images of each class, [K]."""
    # `zero_division` marks 0 / 0 as undefined; by default it would be 0.
    return precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), average=None, zero_division=np.nan
    )


def confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of at most `count` wrong predictions, the most confident first, ties in row order."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:count]


def _agreement(labels: np.ndarray, predicted: np.ndarray) -> tuple[float | None, float | None]:
    coders = np.stack([labels, predicted])
    if coders.min() == coders.max():
        return None, None
    alpha = krippendorff.alpha(reliability_data=coders, level_of_measurement="nominal")
    return float(cohen_kappa_score(labels, predicted)), float(alpha)


def _centre(confidence: np.ndarray) -> dict[str, float | None]:
    return {"mean": _mean(confidence), "median": float(np.median(confidence)) if len(confidence) else None}


def _mean(values: np.ndarray | list[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
