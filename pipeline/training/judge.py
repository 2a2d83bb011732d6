"""Small classifiers that judge synthetic faces, trained like any other on the training split alone.

What they see is `data.learnable`, so nothing of valid or test reaches what they measure or sort out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from pipeline.core.code import sources
from pipeline.core.files import fingerprint
from pipeline.inference import device
from pipeline.inference.crops import centre_crop
from pipeline.inference.samples import Samples, digest, scaled
from pipeline.params.methods import BLOCKS
from pipeline.params.model import Params
from pipeline.params.models import LightSettings
from pipeline.params.optimizers import SgdSettings
from pipeline.params.types import NoSettings
from pipeline.tables.paths import MODELS
from pipeline.training.checkpoint import CODE
from pipeline.training.engine import Run

FOLDER = MODELS / "judges"


@dataclass(frozen=True)
class Judge:
    """A trained classifier.

    Attributes:
        network: in evaluation mode.
        crop: side of what it sees of a face, in pixels.
        prior: share of each class in what it has learned from, float64 [K].
        digest: SHA-256 of its weights.
    """

    network: nn.Module
    crop: int
    prior: np.ndarray
    digest: str

    @torch.no_grad()
    def look(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return features float64 [N, D] and class probabilities [N, K] of faces, uint8 [N, H, W, C].

        The probabilities are those under equally frequent classes (Menon et al. 2021, equation 4): a rare class would
        hardly ever be recognised otherwise.
        """
        where = next(self.network.parameters()).device
        features, chances = [], []
        for start in range(0, max(1, len(faces)), 256):
            some = torch.from_numpy(faces[start : start + 256]).to(where)
            logits, found = self.network(centre_crop(scaled(some), self.crop)[0])
            features.append(found.double().cpu().numpy())
            chances.append(logits.double().softmax(1).cpu().numpy() / np.maximum(self.prior, 1e-12))
        chance = np.concatenate(chances)
        return np.concatenate(features), chance / chance.sum(axis=1, keepdims=True)


def trained(p: Params, samples: Samples, number: int) -> Judge:
    """Return judge `number`, from `models/judges` if one was trained there before on the same samples.

    Args:
        p: the whole of params.yaml.
        samples: to learn from.
        number: judges of different numbers have different seeds.

    Raises:
        UserError: training diverged.
    """
    where = device.pick(p.train.device)
    settings = _settings(p, number)
    words = (
        json.dumps([settings.seed, settings.train.model_dump(), p.classes]),
        digest(samples),
        torch.__version__,
    )
    precision = device.pick_precision(p.train.precision, where)
    run = Run(
        settings,
        samples,
        None,
        where,
        precision,
        FOLDER / f"{fingerprint(words, sources(*CODE))}.safetensors",
    )
    run.fit(lambda index, figures: None)
    run.save()
    weights = {name: tensor.cpu().contiguous() for name, tensor in run.network.state_dict().items()}
    prior = np.bincount(samples.labels.numpy(), minlength=len(p.classes)) / len(samples)
    return Judge(run.network.eval(), settings.train.crop, prior, sha256(save(weights)).hexdigest())


def _settings(p: Params, number: int) -> Params:
    """Return the parameters of a judge's training: those of the run would move what is measured with what is tried."""
    size = p.align.face_size
    train = p.train.model_copy(
        update={
            "epochs": p.gans.judge_epochs,
            "batch_size": 64,
            "crop": max(16, size - size // 12),
            "mirror": True,
            **dict.fromkeys(
                ("rotation", "shear", "translation", "brightness", "contrast", "saturation", "hue"), 0
            ),
            **dict.fromkeys(("resized_crop", "albumentations", "torchrun"), None),
            **dict.fromkeys(("workers", "patience", "label_smoothing", "ema", "clip"), 0),
            "sampling": "natural",
            "schedule": "cosine",
            "warmup": 0.15,
        }
    )
    chosen = {
        "augment": ("none", NoSettings()),
        "loss": ("softmax", NoSettings()),
        "model": ("light", LightSettings(dropout=0.0, extra=None, frozen=0, weights=None, scaling="faces")),
        "optimizer": ("sgd", SgdSettings(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)),
    }
    update: dict[str, Any] = {"seed": p.seed + 1_000_003 * number, "train": train}
    for switch, (name, block) in chosen.items():
        update[switch] = name
        update[BLOCKS[switch]] = getattr(p, BLOCKS[switch]).model_copy(update={name: block})
    return p.model_copy(update=update)
