"""DCGAN, one per class, trained on the faces of that class in the training split.

Radford, Metz & Chintala 2016; batch size 16 as in the GAN augmentation paper, whose settings are Adam 1e-4 and 80
epochs on CK+.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.gan import Generator, from_faces
from pipeline.gan._convolutional import Decoder, Discriminator
from pipeline.params import Block, Positive, Rate
from pipeline.progress import bar


class Params(Block):
    """Settings of DCGAN."""

    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Rate
    latent: Positive
    width: Positive


def fit(
    params: Params,
    faces: np.ndarray,
    labels: np.ndarray,
    targets: Sequence[str],
    seed: int,
    device: torch.device,
) -> dict[str, Generator]:
    """Train one DCGAN for each class in `targets`.

    Raises:
        UserError: a class has fewer than two faces, or its training diverged.
    """
    generators = {}
    for name in targets:
        chosen = faces[labels == name]
        if len(chosen) < 2:
            raise UserError(
                f"params.yaml: gans.classes: found {name!r} with {len(chosen)} faces in split train, "
                "allowed: at least 2"
            )
        network = _train(params, torch.from_numpy(chosen).to(device), seed, device, name)
        generators[name] = Generator(network.eval(), params.latent, device, len(chosen))
    return generators


def _train(params: Params, faces: Tensor, seed: int, device: torch.device, name: str) -> Decoder:
    """Alternate one step of the discriminator and one of the generator (non-saturating loss)."""
    torch.manual_seed(seed)
    count, size, _, channels = faces.shape
    decoder = Decoder(params.latent, size, channels, params.width).to(device)
    discriminator = Discriminator(size, channels, params.width).to(device)
    # Adam's beta1 of 0.5: with 0.9 the published training oscillates (section 3 there).
    update_decoder, update_discriminator = (
        torch.optim.Adam(network.parameters(), lr=params.learning_rate, betas=(0.5, 0.999))
        for network in (decoder, discriminator)
    )
    rng = np.random.default_rng(seed)
    batches = max(1, min(-(-count // params.batch_size), count // 2))  # batch norm needs two faces
    with bar(params.epochs * batches, desc=f"dcgan {name}", unit="steps") as shown:
        for epoch in range(params.epochs):
            for rows in np.array_split(rng.permutation(count), batches):
                real = from_faces(faces[torch.from_numpy(rows).to(device)])
                fake = decoder(torch.randn(max(len(rows), 2), params.latent, device=device))

                # Real and generated faces go through batch norm separately, as published.
                loss = _towards(discriminator(real), 1.0) + _towards(discriminator(fake.detach()), 0.0)
                update_discriminator.zero_grad()
                loss.backward()
                update_discriminator.step()

                fooled = _towards(discriminator(fake), 1.0)
                update_decoder.zero_grad()
                fooled.backward()
                update_decoder.step()
                shown.update()
            if not torch.isfinite(loss + fooled):
                raise UserError(
                    f"dcgan for {name} diverged in epoch {epoch + 1}: the loss is not a number; lower "
                    "gans.dcgan.learning_rate"
                )
    return decoder


def _towards(logits: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))
