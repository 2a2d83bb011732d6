import pytest
import torch

from pipeline.evaluation.crops import centre_crop, ten_crop
from pipeline.networks import _torchvision  # noqa: F401 - before torchvision, see there

from torchvision.transforms.v2 import functional  # isort: skip


@pytest.mark.parametrize(("height", "width", "size"), [(48, 48, 44), (48, 48, 47), (7, 10, 4), (5, 5, 5)])
def test_crops_are_those_of_torchvision(height: int, width: int, size: int) -> None:
    images = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0))

    assert torch.equal(centre_crop(images, size), functional.center_crop(images, [size, size])[None])
    assert torch.equal(ten_crop(images, size), torch.stack(functional.ten_crop(images, [size, size])))


def test_ten_crop_of_a_mirrored_face_holds_the_same_views() -> None:
    images = torch.arange(2 * 36.0).view(2, 1, 6, 6)

    views, mirrored = ten_crop(images, 4), ten_crop(images.flip(-1), 4)

    assert sorted(view.flatten().tolist() for view in views) == sorted(v.flatten().tolist() for v in mirrored)
