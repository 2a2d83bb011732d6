"""AdamW (Loshchilov & Hutter 2019), from torch: Adam with a weight decay that is not part of the gradient.

With `layer_decay`, layers near the face learn slower than layers near the classes, as in the fine-tuning of BEiT (Bao
et al. 2022) and of most transformers since.
"""

from __future__ import annotations

from torch import nn, optim

from pipeline.methods.optimizers import layered, on_gpu
from pipeline.params.optimizers import AdamWSettings


def build(settings: AdamWSettings, network: nn.Module) -> optim.Optimizer:
    """Return AdamW over the parameters of `network`."""
    return optim.AdamW(
        layered(network, settings, settings.layer_decay),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True if on_gpu(network) else None,
        capturable=on_gpu(network),
    )
