"""Scores of the papers. scikit-learn computes most of them; this module sets the conventions.

- Scores are fractions between 0 and 1; agreement coefficients can be negative. An undefined value is None, never NaN,
  which is not valid JSON.
- A class without true images has no recall and no curve, and is left out of every mean over classes. Images wrongly
  predicted as that class still count as errors of their true classes.
- Kappa and alpha are computed over all classes together. The weighted-cluster paper calls them means of two-class
  values, but every kappa that it prints is the multi-class value for the accuracy next to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipeline.evaluation.calibration import calibration_error


def scores(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Score the predictions of one split.

    Args:
        labels: true class of each image, [N] integers from 0 to K - 1, at least one.
        probabilities: [N, K], rows sum to 1. The prediction is the most probable class, the first one on a tie.
        classes: K names in label order.

    Returns:
        - `images`: N.
        - `accuracy`; `macro_recall` (the MixAugment paper's average accuracy) and `macro_f1`.
        - `classes`: number of classes with images, over which the macro scores are means.
        - `kappa`: Cohen's kappa; `alpha`: Krippendorff's nominal alpha. Truth and prediction are the two annotators.
          Both are None if all true and predicted classes are one class, as chance agreement is then certain.
        - `auc`, `auc_pr`: area under the ROC and the precision-recall curve of each class against the others,
          averaged over classes. `auc_pr` is average precision, a sum of steps: linear interpolation would overstate
          the area (Davis & Goadrich 2006, cited by the weighted-cluster paper).
        - `ece`: expected calibration error.
        - `per_class.<class>`: `precision` (None if the class is never predicted), `recall`, `f1`, `support` (number
          of images), `auc`, `auc_pr`.
        - `confidence.correct|wrong`: `mean` and `median` probability of the predicted class.
    """
    # numpy would sum float32 values in float32.
    probabilities = np.asarray(probabilities, np.float64)
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = _per_class(labels, predicted, classes)
    # A curve needs images of the class and images of other classes.
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
    """Return `images`, `accuracy`, `macro_recall`, `macro_f1` and `classes`, the number of classes that occur.

    Args:
        labels: true classes, [N] integers. Without images the scores are None.
        predicted: predicted classes, [N] integers.
        classes: names of all classes. Means are over the classes that occur in `labels`.
    """
    if not len(labels):
        return {"images": 0, "accuracy": None, "macro_recall": None, "macro_f1": None, "classes": 0}
    _, recall, f1, support = _per_class(labels, predicted, classes)
    return {
        "images": len(labels),
        "accuracy": _mean(labels == predicted),
        "macro_recall": _mean(recall[support > 0]),
        "macro_f1": _mean(f1[support > 0]),
        "classes": int((support > 0).sum()),
    }


def _per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> tuple[np.ndarray, ...]:
    """Return precision, recall, F1 and number of images of each class, [K]."""
    # `zero_division=nan` marks 0 / 0 as undefined; the default gives 0.
    return precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), average=None, zero_division=np.nan
    )


def confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of at most `count` wrong predictions, most confident first; ties are in row order."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:count]


def _agreement(labels: np.ndarray, predicted: np.ndarray) -> tuple[float | None, float | None]:
    """Return Cohen's kappa, and Krippendorff's nominal alpha by its short form (Krippendorff 2011, section C)."""
    pairs = confusion_matrix(labels, predicted)
    values = (pairs + pairs.T).sum(axis=1)  # how often the two annotators use each class, [classes in use]
    if len(values) < 2:
        return None, None
    differing = 2 * (pairs.sum() - np.trace(pairs))
    alpha = 1 - (values.sum() - 1) * differing / (values.sum() ** 2 - np.square(values).sum())
    return float(cohen_kappa_score(labels, predicted)), float(alpha)


def _centre(confidence: np.ndarray) -> dict[str, float | None]:
    return {"mean": _mean(confidence), "median": float(np.median(confidence)) if len(confidence) else None}


def _mean(values: np.ndarray | list[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
