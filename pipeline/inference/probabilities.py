"""Class probabilities of faces. Validation, evaluation and prediction all get them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.inference.samples import scaled
from pipeline.methods.models import Classifier

Crops = Callable[[Tensor, int], Tensor]


def probabilities(
    network: Classifier,
    batches: Iterable[Tensor],
    crop: int,
    crops: Crops,
    precision: torch.dtype = torch.float32,
) -> np.ndarray:
    """Return the softmax probabilities of N faces, averaged over the crops of each.

    Args:
        network: maps float [n, C, crop, crop] in 0..1 to logits [n, K] and features; its mode is left unchanged.
        batches: the faces, uint8 [n, H, W, C] on the network's device; each batch is one pass.
        crop: side of the network's input in pixels.
        crops: maps float [n, C, H, W] and `crop` to views [V, n, C, crop, crop] of each face.
        precision: of the forward pass; the softmax is float32.

    Returns:
        float32 [N, K], rows of sum 1.
    """
    parts = [_chances(logits) for logits, _ in outputs(network, batches, crop, crops, precision)]
    return torch.cat(parts).numpy() if parts else np.empty((0, network.head.out_features), np.float32)


def probabilities_and_features(
    network: Classifier,
    batches: Iterable[Tensor],
    crop: int,
    crops: Crops,
    precision: torch.dtype,
    reduce: Callable[[np.ndarray], np.ndarray] = lambda features: features,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of N faces and their features, both averaged over the crops of each face.

    Args:
        network, batches, crop, crops, precision: as for `probabilities`; there is at least one batch.
        reduce: maps the features of a batch, float32 [n, D], to [n, R], so that not all of them are in memory.

    Returns:
        float32 [N, K] and float32 [N, R].
    """
    parts = [
        (_chances(logits).numpy(), reduce(features.float().mean(0).cpu().numpy()))
        for logits, features in outputs(network, batches, crop, crops, precision)
    ]
    chances, reduced = zip(*parts, strict=True)
    return np.concatenate(chances), np.concatenate(reduced).astype(np.float32)


def _chances(logits: Tensor) -> Tensor:
    """Return the class probabilities [n, K] of logits [V, n, K]."""
    return logits.float().softmax(2).mean(0).cpu()


@torch.no_grad()
def outputs(
    network: Classifier, batches: Iterable[Tensor], crop: int, crops: Crops, precision: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits [V, n, K] and features [V, n, D] of each batch; the arguments are those of `probabilities`."""
    was_training = network.training
    network.eval()
    for faces in batches:
        views = crops(scaled(faces), crop)
        flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(faces.device.type, precision, enabled=precision != torch.float32):
            logits, features = network(flat)
        yield logits.unflatten(0, views.shape[:2]), features.unflatten(0, views.shape[:2])
    network.train(was_training)
