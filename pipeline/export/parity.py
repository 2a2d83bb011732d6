"""Compare exported files with PyTorch, on faces that training did not see."""

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

# Largest allowed difference of a probability between PyTorch and onnxruntime, both in float32 on the CPU.
TOLERANCE = 1e-4
# Largest allowed loss of accuracy in int8, over all splits together.
LOSS = 0.01
RANDOM_FACES = 64


@dataclass(frozen=True)
class Parity:
    """Comparison of exported files with PyTorch on one split.

    Attributes:
        split: name of the split, or `random` for faces of random pixels, which have no labels.
        faces: number of faces.
        difference: largest difference of a probability between PyTorch and the float32 file.
        float32, int8: accuracies of the files; None without labels or without the file.
    """

    split: str
    faces: int
    difference: float
    float32: float | None
    int8: float | None


def check_parity(
    classifier: Classifier, model: bytes, quantized: bytes | None, splits: dict[str, Samples]
) -> list[Parity]:
    """Compare exported files with the classifier on each split.

    Args:
        classifier: the classifier on the CPU.
        model: the float32 file.
        quantized: the int8 file, if there is one.
        splits: faces by split; `random` has no labels.

    Raises:
        UserError: a probability of the float32 file differs by more than `TOLERANCE`, or int8 loses more than `LOSS`.
    """
    parities = [_parity(classifier, model, quantized, split, samples) for split, samples in splits.items()]
    for parity in parities:
        if not parity.difference <= TOLERANCE:  # true for NaN, after a diverged training
            raise UserError(
                f"export: found a difference of {parity.difference:.2g} between PyTorch's and ONNX's probabilities on "
                f"{parity.faces:,} faces ({parity.split}), allowed: at most {TOLERANCE:g}; nothing was written"
            )
    if quantized is not None:
        _check_loss(parities)
    return parities


def _parity(
    classifier: Classifier, model: bytes, quantized: bytes | None, split: str, samples: Samples
) -> Parity:
    torchs = probabilities.probabilities(
        classifier.network, samples, classifier.crop, centre_crop, desc=f"PyTorch, {split}"
    )
    onnxs = onnx.probabilities(model, samples, f"ONNX, {split}")
    labels = samples.labels.numpy()

    def accuracy(probability: np.ndarray) -> float | None:
        return None if split == "random" else float((probability.argmax(1) == labels).mean())

    return Parity(
        split,
        len(samples),
        float(np.abs(torchs - onnxs).max()),
        accuracy(onnxs),
        None if quantized is None else accuracy(onnx.probabilities(quantized, samples, f"int8, {split}")),
    )


def _check_loss(parities: list[Parity]) -> None:
    total = sum(parity.faces for parity in parities)
    before, after = (
        sum(parity.faces * getattr(parity, name) for parity in parities) / total
        for name in ("float32", "int8")
    )
    if before - after > LOSS:
        names = " and ".join(parity.split for parity in parities)
        raise UserError(
            f"export: found an accuracy of {after:.4f} in int8 and {before:.4f} in float32 on {total:,} faces of "
            f"{names}, allowed: a loss of at most {LOSS:g}; nothing was written; leave out --int8"
        )


def random_faces(classifier: Classifier) -> Samples:
    """Return faces of random pixels, always the same, for a model whose own faces are not available."""
    shape = (RANDOM_FACES, classifier.size, classifier.size, classifier.channels)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    none = np.zeros(RANDOM_FACES, np.int64)
    targets = torch.zeros(RANDOM_FACES, len(classifier.classes))
    ids = [f"random/{i}" for i in range(RANDOM_FACES)]
    return Samples(ids, [], none, none, targets, torch.from_numpy(none), faces)
