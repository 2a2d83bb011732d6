"""Small classifiers that judge synthetic faces, and training labels (`pipeline.suspects`).

Those that judge synthetic faces learn only from `LabelledFaces.learnable`. These are the training faces, after exact
and near copies of faces in valid and test, and copies of each other, have been removed. So no face of valid or test
influences the measures and filters that use these classifiers. A judge's network, optimiser and loss are fixed, and so
are their settings. If the judges used the run's network and settings, an experiment that changes these would change the
measure together with the result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from pipeline.core.code import sources
from pipeline.core.files import fingerprint
from pipeline.inference.crops import centre_crop
from pipeline.inference.samples import Samples, digest, scaled
from pipeline.methods.models import Classifier
from pipeline.params.losses import SoftmaxSettings
from pipeline.params.model import Train
from pipeline.params.models import LightSettings
from pipeline.params.optimizers import SgdSettings
from pipeline.params.types import NoSettings
from pipeline.tables.paths import reusable
from pipeline.training.checkpoint import CODE, keep_newest
from pipeline.training.engine import TrainingRun
from pipeline.training.parts import built_parts, loaded_network

KEPT = 16  # so many judges stay; the one that was not used for the longest time goes first
MODEL = ("light", LightSettings(dropout=0.0, extra=None, frozen=0, weights=None, scaling="faces"))
OPTIMIZER = (
    "sgd",
    SgdSettings(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, decay="kernels"),
)
LOSS, AUGMENT = ("softmax", SoftmaxSettings(reduction="mean")), ("none", NoSettings())


@dataclass(frozen=True)
class Judge:
    """A trained classifier.

    Attributes:
        network: in evaluation mode.
        crop: side of the network's input in pixels.
        prior: share of each class in the training samples, float64 [K].
        digest: SHA-256 of the weights.
    """

    network: Classifier
    crop: int
    prior: np.ndarray
    digest: str

    @torch.no_grad()
    def assess(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return features float64 [N, D] and class probabilities [N, K] of faces, uint8 [N, H, W, C].

        The probabilities assume that all classes are equally frequent (Menon et al. 2021, equation 4). Otherwise a
        rare class would hardly ever be recognised. A class without training samples has probability 0.
        """
        device = next(self.network.parameters()).device
        features, weighted = [], []
        for start in range(0, max(1, len(faces)), 256):
            batch = torch.from_numpy(faces[start : start + 256]).to(device)
            logits, batch_features = self.network(centre_crop(scaled(batch), self.crop)[0])
            features.append(batch_features.double().cpu().numpy())
            chances = logits.double().softmax(1).cpu().numpy()
            weighted.append(np.divide(chances, self.prior, out=np.zeros_like(chances), where=self.prior > 0))
        probabilities = np.concatenate(weighted)
        return np.concatenate(features), probabilities / probabilities.sum(axis=1, keepdims=True)


def trained(
    samples: Samples,
    classes: list[str],
    seed: int,
    number: int,
    epochs: int,
    device: torch.device,
    precision: torch.dtype,
    checkpoint_seconds: float,
) -> Judge:
    """Return judge `number`. It is read from `models/judges` if it was trained before on the same samples,
    with the same arguments (except `checkpoint_seconds`), code, type of device and version of torch.

    Args:
        samples: to learn from.
        classes: K names in the order of the labels.
        seed: of the run.
        number: of the judge; each judge has its own seed.
        epochs: of the training.
        device: of the training and of the judge.
        precision: of the forward passes in training.
        checkpoint_seconds: time between checkpoints.

    Raises:
        UserError: training diverged.
    """
    seed += 1_000_003 * number
    settings = _settings(epochs, samples.shape[0], checkpoint_seconds)
    arguments = json.dumps([seed, epochs, classes, device.type, str(precision)])
    words = (arguments, digest(samples), torch.__version__)
    folder = reusable("judges")
    path = folder / f"{fingerprint(words, sources(*CODE))}.safetensors"
    network, _ = loaded_network(MODEL, classes, samples.shape[2], seed, device)
    parts = built_parts(network, OPTIMIZER, LOSS, AUGMENT, samples.labels)
    title = f"judge {number + 1}"
    run = TrainingRun(parts, settings, seed, samples, None, precision, path, title=title)
    run.fit(lambda index, figures: None)
    run.save()
    keep_newest(folder, KEPT)
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    prior = np.bincount(samples.labels.numpy(), minlength=len(classes)) / len(samples)
    return Judge(network.eval(), settings.crop, prior, sha256(save(weights)).hexdigest())


def _settings(epochs: int, face: int, checkpoint_seconds: float) -> Train:
    """Return the settings of a judge's training on faces of `face` pixels a side."""
    unused: dict[str, Any] = dict.fromkeys(
        (
            "rotation",
            "shear",
            "translation",
            "scale",
            "brightness",
            "contrast",
            "saturation",
            "hue",
            "erasing",
        ),
        0,
    )
    unused |= dict.fromkeys(("datasets", "resized_crop", "albumentations", "torchrun"), None)
    unused |= dict.fromkeys(
        ("workers", "patience", "label_smoothing", "ema", "clip", "sam", "schedule_start"), 0
    )
    unused |= {
        "temperature": False,
        "trivial_augment": False,
        "schedule_every": 1,
        "schedule_factor": 1,
        "milestones": [],
        "synthetic": "beside",
        "best": "last",
    }
    return Train(
        epochs=epochs,
        batch_size=64,
        accumulate=1,
        crop=max(16, face - face // 12),
        mirror=True,
        sampling="natural",
        schedule="cosine",
        warmup=0.15,
        precision="auto",
        device="auto",
        compile=False,
        checkpoint_seconds=checkpoint_seconds,
        **unused,
    )
