"""Whether exported files do what PyTorch does, on faces that training did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.export import onnx
from pipeline.inference import probabilities
from pipeline.inference.classifier import Classifier
from pipeline.inference.crops import centre_crop
from pipeline.inference.samples import Samples

# Largest difference of a probability between PyTorch and onnxruntime, both float32 on the CPU.
TOLERANCE = 1e-4
# Share of the faces that int8 may recognise less, all splits together.
LOSS = 0.01
RANDOM_FACES = 64


@dataclass(frozen=True)
class Check:
    """What came of the faces of a split.

    Attributes:
        split: its name, or `random` for faces of random pixels, which have no accuracy.
        faces: how many.
        difference: largest difference of a probability between PyTorch and the float32 file.
        float32, int8: accuracies of the files; None where there is none.
    """

    split: str
    faces: int
    difference: float
    float32: float | None
    int8: float | None


def check(
    classifier: Classifier, model: bytes, small: bytes | None, splits: dict[str, Samples]
) -> list[Check]:
    """Return how exported files compare with the classifier on each split.

    Args:
        classifier: on the CPU.
        model, small: the float32 file and, if there is one, the int8 file.
        splits: faces by the name of their split; `random` has no labels.

    Raises:
        UserError: the float32 file differs by more than `TOLERANCE`, or int8 recognises too few faces.
    """
    checks = [_compared(classifier, model, small, name, samples) for name, samples in splits.items()]
    for found in checks:
        if not found.difference <= TOLERANCE:  # NaN of a diverged training too
            raise UserError(
                f"export: found a difference of {found.difference:.2g} between PyTorch's and ONNX's probabilities on "
                f"{found.faces:,} faces ({found.split}), allowed: at most {TOLERANCE:g}; nothing was written"
            )
    if small is not None:
        _refuse_loss(checks)
    return checks


def _compared(
    classifier: Classifier, model: bytes, small: bytes | None, split: str, samples: Samples
) -> Check:
    torchs = probabilities.probabilities(
        classifier.network, samples, classifier.crop, centre_crop, desc=f"PyTorch, {split}"
    )
    onnxs = onnx.probabilities(model, samples, f"ONNX, {split}")
    labels = samples.labels.numpy()

    def accuracy(probability: np.ndarray) -> float | None:
        return None if split == "random" else float((probability.argmax(1) == labels).mean())

    return Check(
        split,
        len(samples),
        float(np.abs(torchs - onnxs).max()),
        accuracy(onnxs),
        None if small is None else accuracy(onnx.probabilities(small, samples, f"int8, {split}")),
    )


def _refuse_loss(checks: list[Check]) -> None:
    total = sum(found.faces for found in checks)
    before, after = (
        sum(found.faces * getattr(found, name) for found in checks) / total for name in ("float32", "int8")
    )
    if before - after > LOSS:
        names = " and ".join(found.split for found in checks)
        raise UserError(
            f"export: found an accuracy of {after:.4f} in int8 and {before:.4f} in float32 on {total:,} faces of "
            f"{names}, allowed: a loss of at most {LOSS:g}; nothing was written; leave out --int8"
        )


def random_faces(classifier: Classifier) -> Samples:
    """Return faces of random pixels, always the same, for a model whose own faces are not at hand."""
    shape = (RANDOM_FACES, classifier.size, classifier.size, classifier.channels)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    none = np.zeros(RANDOM_FACES, np.int64)
    targets = torch.zeros(RANDOM_FACES, len(classifier.classes))
    ids = [f"random/{i}" for i in range(RANDOM_FACES)]
    return Samples(ids, [], none, none, targets, torch.from_numpy(none), faces)
