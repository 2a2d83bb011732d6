"""The convolutional generator and discriminator of DCGAN, for any face of a multiple of 16 pixels.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, section 3: strided convolutions instead of pooling, batch norm in both except at the
generator's output and the discriminator's input, ReLU and tanh in the one, LeakyReLU 0.2 in the other.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Decoder(nn.Module):
    """The generator: noise to a face, through four doublings of the resolution.

    Args:
        latent: length Z of the noise vector.
        size: side of a face, a multiple of 16.
        channels: of a face, 1 or 3.
        width: channels of the layer before the last; deeper ones have up to 8 times as many.
    """

    def __init__(self, latent: int, size: int, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 8, width * 4, width * 2, width]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent, widths[0], size // 16, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for wide, narrow in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, noise: Tensor) -> Tensor:
        """Map [n, Z] to [n, C, size, size] in -1..1."""
        return self.layers(noise[:, :, None, None])


class Discriminator(nn.Module):
    """The discriminator: a face to one logit, through four halvings of the resolution.

    Args:
        size: side of a face, a multiple of 16.
        channels: of a face, 1 or 3.
        width: channels of the first layer; deeper ones have up to 8 times as many.
    """

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        widths = [width, width * 2, width * 4, width * 8]
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(width * 8, 1, size // 16))
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Map [n, C, size, size] in -1..1 to logits [n]; positive means real."""
        return self.layers(images).flatten()
