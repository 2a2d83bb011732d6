from collections.abc import Callable

import pytest
import torch

from pipeline.inference.crops import centre_crop, mirrored, ten_crop
from pipeline.methods.models.parts import torchvision  # noqa: F401 - before torchvision, see there

from torchvision.transforms.v2 import functional  # isort: skip


@pytest.mark.parametrize(("height", "width", "size"), [(48, 48, 44), (48, 48, 47), (7, 10, 4), (5, 5, 5)])
def test_crops_are_those_of_torchvision(height: int, width: int, size: int) -> None:
    images = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0))

    assert torch.equal(centre_crop(images, size), functional.center_crop(images, [size, size])[None])
    centre = functional.center_crop(images, [size, size])
    mirror_images = functional.center_crop(functional.horizontal_flip(images), [size, size])
    assert torch.equal(mirrored(images, size), torch.stack([centre, mirror_images]))
    assert torch.equal(ten_crop(images, size), torch.stack(functional.ten_crop(images, [size, size])))


@pytest.mark.parametrize("crops", [mirrored, ten_crop])
def test_a_mirrored_face_has_the_same_views(crops: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    images = torch.arange(2 * 36.0).view(2, 1, 6, 6)

    views, of_mirrored = crops(images, 4), crops(images.flip(-1), 4)

    assert sorted(v.flatten().tolist() for v in views) == sorted(v.flatten().tolist() for v in of_mirrored)
