"""Class probabilities of faces: the one way in which validation, evaluation and prediction get them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.progress import track
from pipeline.inference.samples import Samples, scaled

Crops = Callable[[Tensor, int], Tensor]


def probabilities(
    network: nn.Module,
    samples: Samples,
    crop: int,
    crops: Crops,
    precision: torch.dtype = torch.float32,
    batch_size: int = 256,
    desc: str | None = None,
) -> np.ndarray:
    """Return the softmax probabilities of every sample, averaged over its crops.

    Args:
        network: as `Classifier.network`; its mode is left as it was found.
        samples: N faces.
        crop: side of what the network sees, in pixels.
        crops: maps float [n, C, H, W] and `crop` to [V, n, C, crop, crop]: the views of each face.
        precision: of the forward pass; the softmax is float32.
        batch_size: faces per pass.
        desc: what the progress bar says; no bar if None.

    Returns:
        float32 [N, K], rows of sum 1.
    """
    parts = [
        logits.float().softmax(2).mean(0).cpu()
        for logits, _ in passes(network, samples, crop, crops, precision, batch_size, desc)
    ]
    return torch.cat(parts).numpy() if parts else np.empty((0, samples.targets.shape[1]), np.float32)


@torch.no_grad()
def passes(
    network: nn.Module,
    samples: Samples,
    crop: int,
    crops: Crops,
    precision: torch.dtype,
    batch_size: int,
    desc: str | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits [V, n, K] and features [V, n, D] of `batch_size` faces after the other, see `probabilities`."""
    was_training = network.training
    network.eval()
    device = samples.targets.device
    starts = range(0, len(samples), batch_size)
    for start in track(starts, desc=desc, unit="batches") if desc else starts:
        rows = torch.arange(start, min(start + batch_size, len(samples)))
        views = crops(scaled(samples.take(rows)), crop)
        flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits, features = network(flat)
        yield logits.unflatten(0, views.shape[:2]), features.unflatten(0, views.shape[:2])
    network.train(was_training)
