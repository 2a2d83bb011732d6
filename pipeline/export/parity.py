"""Compare exported files with PyTorch, on faces that training did not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.export import onnx
from pipeline.inference import probabilities
from pipeline.inference.crops import VIEWS
from pipeline.inference.model_file import TrainedModel
from pipeline.inference.samples import LabelledFaces, Samples
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, LABELS

# Largest allowed difference of a probability between PyTorch and onnxruntime, both in float32 on the CPU.
TOLERANCE = 1e-4
# Largest allowed loss of accuracy in int8, over all splits together.
LOSS = 0.01
RANDOM_FACES = 64
CROPS, BATCH = VIEWS["centre"]


class RandomFaces:
    """Faces of random pixels, always the same, for a model whose own faces are not available.

    Args:
        classifier: the model that takes such faces.
    """

    def __init__(self, classifier: TrainedModel) -> None:
        shape = (RANDOM_FACES, classifier.size, classifier.size, classifier.channels)
        self.faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))

    def __len__(self) -> int:
        return len(self.faces)

    def batches(self, size: int, desc: str) -> Iterator[Tensor]:
        """Yield the faces as `Samples.batches` does, without a progress bar."""
        yield from self.faces.split(size)


Scored = Samples | RandomFaces


def comparison_faces(
    p: Params, classifier: TrainedModel, int8: bool
) -> tuple[dict[str, Scored], Samples | None]:
    """Return the faces for the comparison, by split, and the training faces if int8 needs them.

    As in `evaluate`, `valid` has the faces of the data sets that the model learned from, and `test` those of all. If
    the run's faces do not fit the model or are not there, they are random, unless int8 needs them.

    Raises:
        UserError: int8 needs faces that cannot be used.
    """
    try:
        check_faces(p, classifier)
        learned = LabelledFaces(p.classes, classifier.datasets, p.align)
        train = learned.split("train")
        splits = {
            "valid": learned.split("valid"),
            "test": LabelledFaces(p.classes, p.datasets, p.align).split("test"),
        }
        held_out: dict[str, Scored] = {split: faces for split, faces in splits.items() if len(faces)}
        if not len(train):
            raise UserError(f"{LABELS}: found no samples of split train")
    except UserError as error:
        if int8:
            raise UserError(f"--int8 needs faces of the training split: {error}") from None
        say(f"export: compared on random faces, as the run's cannot be used: {error}")
        return {"random": RandomFaces(classifier)}, None
    return held_out or {"train": train}, train if int8 else None


def check_faces(p: Params, classifier: TrainedModel) -> None:
    """Reject faces and labels that do not fit the model.

    Raises:
        UserError: says how they differ.
    """
    if not set(classifier.datasets) <= set(p.datasets):
        found, allowed = ", ".join(p.datasets), ", ".join(classifier.datasets)
        raise UserError.of(
            "params.yaml: datasets", found, f"{allowed}, from which the model learned, among them"
        )
    if p.classes != classifier.classes:
        found, allowed = ", ".join(p.classes), ", ".join(classifier.classes)
        raise UserError.of("params.yaml: classes", found, f"{allowed}, those of the model")
    found, allowed = (
        f"{a.face_size} pixels, {'RGB' if a.colour else 'grey'}, {a.mode}"
        for a in (p.align.for_prediction(p.train_datasets), classifier.align)
    )
    if found != allowed:
        raise UserError.of(ALIGNED, f"faces of {found}", f"{allowed}, those of the model")


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
    classifier: TrainedModel, model: bytes, quantized: bytes | None, splits: dict[str, Scored]
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
    parities = [_parity(classifier, model, quantized, split, faces) for split, faces in splits.items()]
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
    classifier: TrainedModel, model: bytes, quantized: bytes | None, split: str, faces: Scored
) -> Parity:
    batches = faces.batches(BATCH, f"PyTorch, {split}")
    torchs = probabilities.probabilities(classifier.network, batches, classifier.crop, CROPS)
    onnxs = onnx.probabilities(model, faces.batches(BATCH, f"ONNX, {split}"))

    def accuracy(probability: np.ndarray) -> float | None:
        if isinstance(faces, RandomFaces):
            return None
        return float((probability.argmax(1) == faces.labels.numpy()).mean())

    return Parity(
        split,
        len(faces),
        float(np.abs(torchs - onnxs).max()),
        accuracy(onnxs),
        None
        if quantized is None
        else accuracy(onnx.probabilities(quantized, faces.batches(BATCH, f"int8, {split}"))),
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
