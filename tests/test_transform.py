"""Geometric and colour transforms against torchvision, their plan, and recipes of albumentations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor

from pipeline import params
from pipeline.core.errors import UserError
from pipeline.methods.augments import none
from pipeline.methods.models.parts import torchvision  # noqa: F401 - makes torchvision importable beside a CPU torch
from pipeline.training import batch_transform as transform
from pipeline.training import face_transform, plan
from tests import toy

PAPER = {"brightness": 0.25, "contrast": 0.25, "saturation": 0.05, "hue": 0.05, "rotation": 15, "shear": 15}
RECIPE = [
    {"__class_fullname__": "HorizontalFlip", "p": 0.5},
    {"__class_fullname__": "VerticalFlip", "p": 0.5},
    {"__class_fullname__": "RandomBrightnessContrast", "p": 0.9},
    {"__class_fullname__": "GaussNoise", "p": 0.9},
]


def settings(**changes: Any) -> params.Train:
    return toy.PARAMS.train.model_copy(update=changes)


def random_faces(count: int, size: int = 48, channels: int = 3) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
    )


def planned(chosen: params.Train, count: int = 40, batch: int = 8, face: int = 48) -> list[plan.Batch]:
    return plan.epoch_plan(
        3,
        2,
        count,
        batch,
        margin=face - 44,
        crop=44,
        mirror=True,
        draw=lambda rng, n, size: none.draw(toy.settings("augment", "none"), rng, n, size),
        transform=lambda rng, n, size: transform.draw(chosen, face, rng, n, size),
    )


def applied(faces: Tensor, batch: plan.Batch, size: int = 44) -> Tensor:
    return transform.apply(faces[batch.samples], size, batch.top, batch.left, batch.mirrored, batch.transform)


# ------------------------------------------------------------------------------------------------ the plan


def test_the_plan_stays_as_it_was_while_all_is_off() -> None:
    # The first permutation, places, mirrors and partners of numpy's generator, drawn as the plan always has.
    rng = np.random.default_rng((3, 2))
    expected = rng.permutation(40), rng.integers(0, 5, 40), rng.integers(0, 5, 40), rng.random(40) < 0.5
    for chosen in (settings(), settings(**PAPER, translation=0.1, resized_crop=[0.3, 1.0])):
        batches = planned(chosen)
        for name, values in zip(("samples", "top", "left", "mirrored"), expected, strict=True):
            assert torch.cat([getattr(b, name) for b in batches]).tolist() == values.tolist()
    assert all(b.transform == {} for b in planned(settings()))


def test_an_augmentations_draws_do_not_depend_on_the_transforms() -> None:
    from pipeline.methods.augments import mixcut

    def draws(chosen: params.Train) -> list[dict[str, Tensor]]:
        batches = plan.epoch_plan(
            1,
            0,
            20,
            5,
            margin=4,
            crop=44,
            mirror=True,
            draw=lambda rng, n, size: mixcut.draw(toy.settings("augment", "mixcut"), rng, n, size),
            transform=lambda rng, n, size: transform.draw(chosen, 48, rng, n, size),
        )
        return [b.draws for b in batches]

    for a, b in zip(draws(settings()), draws(settings(**PAPER)), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_draws_fill_the_ranges_they_are_given() -> None:
    chosen = settings(**PAPER, translation=0.1, scale=0.2, resized_crop=[0.2, 0.9])
    drawn = transform.draw(chosen, 48, np.random.default_rng(0), 5000, 44)
    for name, low, high in (
        ("brightness", 0.75, 1.25),
        ("contrast", 0.75, 1.25),
        ("saturation", 0.95, 1.05),
        ("hue", -0.05, 0.05),
        ("angle", -15, 15),
        ("shear", -15, 15),
        ("shift", -0.1, 0.1),
        ("scale", 0.8, 1.2),
    ):
        edge = (high - low) / 100
        assert low <= drawn[name].min() < low + edge
        assert high - edge < drawn[name].max() <= high
        assert abs(drawn[name].mean() - (low + high) / 2) < 3 * edge
    top, left, height, width = drawn["box"].T
    share, aspect = height * width / 48**2, width / height
    assert share.min() == pytest.approx(0.2, rel=0.02)
    assert share.max() <= 0.9 + 1e-6
    assert aspect.min() == pytest.approx(3 / 4, rel=0.01)
    assert aspect.max() == pytest.approx(4 / 3, rel=0.01)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 48 + 1e-4


# -------------------------------------------------------------------------------------- geometry, torchvision


@given(
    st.integers(0, 2**32 - 1),
    st.floats(-45, 45),
    st.floats(-30, 30),
    st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    st.floats(0.5, 2),
    st.booleans(),
)
def test_rotation_shear_translation_and_scale_are_torchvisions(
    seed: int, angle: float, shear: float, moved: tuple[int, int], scale: float, mirrored: bool
) -> None:
    from torchvision.transforms.v2 import functional as F

    rng = np.random.default_rng(seed)
    top, left = (int(value) for value in rng.integers(0, 5, 2))
    faces = torch.from_numpy(rng.integers(0, 256, (1, 48, 48, 3), np.uint8))
    draws = {"angle": angle, "shear": shear, "scale": scale}
    ours = transform.apply(
        faces,
        44,
        torch.tensor([top]),
        torch.tensor([left]),
        torch.tensor([mirrored]),
        {name: torch.tensor([value]) for name, value in draws.items()}
        | {"shift": torch.tensor([moved], dtype=torch.float32) / 44},
    )
    # torchvision fills with black what lies beyond the edges: it gets the mirrored surroundings as well.
    pad = 144
    around = np.pad(faces[0].numpy(), ((pad, pad), (pad, pad), (0, 0)), "symmetric")
    image = torch.from_numpy(around).permute(2, 0, 1).float() / 255
    # The middle of 44 pixels from `left`, and a translation that torchvision wants in whole pixels.
    image = F.affine(
        image,
        angle=angle,
        translate=list(moved),
        scale=scale,
        shear=[shear, 0.0],
        center=[pad + left + 22.0, pad + top + 22.0],
        interpolation=F.InterpolationMode.BILINEAR if hasattr(F, "InterpolationMode") else 2,
    )
    theirs = F.crop(image, pad + top, pad + left, 44, 44)
    theirs = F.horizontal_flip(theirs) if mirrored else theirs
    # Places agree to 1e-4 pixel, and neighbouring pixels of noise differ by up to 1.
    torch.testing.assert_close(ours[0], theirs, atol=3e-4, rtol=0)


def test_rotation_alone_turns_against_torchvisions_rotate() -> None:
    from torchvision.transforms.v2 import functional as F

    faces = random_faces(5, 64)
    angles = torch.tensor([-90.0, -15.0, 0.0, 7.5, 90.0])
    place = torch.full((5,), 16)
    ours = transform.apply(faces, 32, place, place, torch.zeros(5, dtype=torch.bool), {"angle": angles})
    for face, angle, found in zip(faces, angles.tolist(), ours, strict=True):
        theirs = F.rotate(face.permute(2, 0, 1).float() / 255, -angle, interpolation=2)  # counter-clockwise
        torch.testing.assert_close(found, F.crop(theirs, 16, 16, 32, 32), atol=3e-4, rtol=0)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_resized_crop_is_torchvisions(seed: int, mirrored: bool) -> None:
    from torchvision.transforms.v2 import functional as F

    rng = np.random.default_rng(seed)
    faces = torch.from_numpy(rng.integers(0, 256, (1, 48, 48, 3), np.uint8))
    height, width = (int(value) for value in rng.integers(12, 49, 2))
    top, left = int(rng.integers(0, 49 - height)), int(rng.integers(0, 49 - width))
    zero = torch.zeros(1, dtype=torch.int64)
    box = torch.tensor([[top, left, height, width]], dtype=torch.float32)
    ours = transform.apply(faces, 32, zero, zero, torch.tensor([mirrored]), {"box": box})
    image = faces[0].permute(2, 0, 1).float() / 255
    theirs = F.resized_crop(image, top, left, height, width, [32, 32], interpolation=2, antialias=False)
    theirs = F.horizontal_flip(theirs) if mirrored else theirs
    # At its border torchvision's crop no longer has the face's next pixel; ours has.
    inside = [_within(size) for size in (height, width)]
    inside[1] = inside[1].flip(0) if mirrored else inside[1]
    seen = inside[0][:, None] & inside[1][None, :]
    torch.testing.assert_close(ours[0][:, seen], theirs[:, seen], atol=1e-4, rtol=0)
    if (height, width) == (48, 48):
        torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=0)


def _within(size: int) -> Tensor:
    """Return which of 32 pixels, spread over `size`, lie between the middles of the first and the last one."""
    place = (torch.arange(32) + 0.5) * size / 32 - 0.5
    return (place >= 0) & (place <= size - 1)


def test_the_whole_face_resized_is_torchvisions_at_the_border_too() -> None:
    from torchvision.transforms.v2 import functional as F

    faces = random_faces(1)
    zero = torch.zeros(1, dtype=torch.int64)
    box = torch.tensor([[0.0, 0.0, 48.0, 48.0]])
    for size in (32, 48, 64):
        ours = transform.apply(faces, size, zero, zero, zero.bool(), {"box": box})
        theirs = F.resize(faces[0].permute(2, 0, 1).float() / 255, [size, size], antialias=False)
        torch.testing.assert_close(ours[0], theirs, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------- colour, torchvision


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colour_is_torchvisions(name: str, channels: int) -> None:
    from torchvision.transforms.v2 import functional as F

    if channels == 1 and name in ("saturation", "hue"):
        pytest.skip("grey has none; params.yaml refuses it")
    images = torch.rand(24, channels, 20, 20, generator=torch.Generator().manual_seed(0))
    images[0] = 0.0
    images[1] = 0.4  # grey
    images[2] = (images[2] * 3).floor() / 2  # channels that tie
    reach = (-0.5, 0.5) if name == "hue" else (0.0, 2.0)
    values = torch.linspace(*reach, 24)[torch.randperm(24, generator=torch.Generator().manual_seed(1))]
    ours = transform.colour(images, {name: values})
    adjust = getattr(F, f"adjust_{name}")
    for image, value, found in zip(images, values.tolist(), ours, strict=True):
        torch.testing.assert_close(found, adjust(image, value), atol=2e-6, rtol=0)


def test_colours_follow_one_another_in_the_stated_order() -> None:
    from torchvision.transforms.v2 import functional as F

    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    draws = {"hue": 0.1, "saturation": 1.4, "contrast": 0.7, "brightness": 1.6}
    ours = transform.colour(images, {name: torch.full((4,), value) for name, value in draws.items()})
    theirs = F.adjust_contrast(F.adjust_brightness(images, 1.6), 0.7)
    theirs = F.adjust_hue(F.adjust_saturation(theirs, 1.4), 0.1)
    torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=0)


# ------------------------------------------------------------------------------------------------ the batch


def test_without_transforms_the_crop_is_the_same_to_the_bit() -> None:
    faces = random_faces(40)
    for batch in planned(settings()):
        expected = transform.crop(faces[batch.samples], 44, batch.top, batch.left, batch.mirrored)
        assert torch.equal(applied(faces, batch), expected)


def test_transforms_that_change_nothing_are_the_crop() -> None:
    faces = random_faces(40)
    for batch in planned(settings()):
        count = len(batch.samples)
        nothing = {name: torch.zeros(count) for name in ("angle", "shear", "hue")}
        nothing |= {name: torch.ones(count) for name in ("brightness", "contrast", "saturation")}
        nothing["shift"] = torch.zeros(count, 2)
        ours = transform.apply(faces[batch.samples], 44, batch.top, batch.left, batch.mirrored, nothing)
        torch.testing.assert_close(ours, applied(faces, batch), atol=2e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_does_not_depend_on_its_batch(channels: int) -> None:
    grey = {"saturation": 0, "hue": 0} if channels == 1 else {}
    chosen = settings(**(PAPER | grey), translation=0.1, resized_crop=[0.3, 1.0])
    faces = random_faces(40, channels=channels)
    for batch in planned(chosen, batch=13):
        together = applied(faces, batch)
        assert together.shape[1:] == (channels, 44, 44)
        assert together.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= together.min() <= together.max() <= 1
        for i in range(len(batch.samples)):
            alone = transform.apply(
                faces[batch.samples[i : i + 1]],
                44,
                batch.top[i : i + 1],
                batch.left[i : i + 1],
                batch.mirrored[i : i + 1],
                {name: values[i : i + 1] for name, values in batch.transform.items()},
            )
            assert torch.equal(alone[0], together[i])


# ------------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("brightness", 1.5, ["1.5", "1"]),
        ("contrast", -0.1, ["-0.1", "0"]),
        ("hue", 0.6, ["0.6", "0.5"]),
        ("rotation", 181, ["181", "180"]),
        ("shear", 61, ["61", "60"]),
        ("translation", 2, ["2", "1"]),
        ("resized_crop", [0.5], ["0.5"]),
        ("resized_crop", [0.9, 0.2], ["0.9", "smaller one first"]),
        ("resized_crop", [0, 1], ["0", "greater than 0"]),
        ("workers", -1, ["-1", "0"]),
        ("hue", 0.05, ["0.05", "align.colour is false"]),
        ("saturation", 0.05, ["0.05", "align.colour is false"]),
        ("albumentations", "CLAHE", ["'CLAHE'", "null, a list of transforms"]),
        ("albumentations", [], ["[]", "null, a list of transforms"]),
        ("rotate", 15, ["unknown key", "did you mean rotation"]),
    ],
)
def test_a_wrong_setting_is_one_line(project: Path, key: str, value: Any, expected: list[str]) -> None:
    toy.set_params(project, **{f"train.{key}": value})
    with pytest.raises(UserError) as error:
        params.load()
    for part in [f"train.{key}", *expected]:
        assert part in str(error.value)


def test_colour_faces_have_hue_and_saturation(project: Path) -> None:
    toy.set_params(
        project, **{"align.colour": True, "gan": "none"}, **{f"train.{k}": v for k, v in PAPER.items()}
    )
    assert params.load().train.hue == 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_fills_torchvisions_rectangles_with_one_colour(channels: int) -> None:
    from torchvision.transforms import v2

    count = 4000
    drawn = transform.draw(settings(erasing=0.4), 48, np.random.default_rng(1), count, 44)["erased"]
    boxes, colours = drawn[:, :4].astype(int), drawn[:, 4:]
    assert (boxes == drawn[:, :4]).all()
    images = torch.rand(200, channels, 44, 44)
    ours = transform.erase(images, torch.from_numpy(drawn[:200]))
    for image, found, box, colour in zip(images, ours, boxes, colours, strict=False):
        fill = torch.tensor(colour[:channels])[:, None, None]
        assert torch.equal(found, v2.functional.erase(image, *box.tolist(), fill))
    erased = boxes[boxes[:, 2] > 0]
    assert len(erased) / count == pytest.approx(0.4, abs=0.03)
    torch.manual_seed(1)
    theirs = [v2.RandomErasing(p=1.0).make_params([images[0]]) for _ in range(1000)]
    expected = np.array([[found[side] for side in "ijhw"] for found in theirs])
    for ours_, theirs_ in zip(erased.T, expected.T, strict=True):
        assert ks_2samp(ours_, theirs_).pvalue > 0.001
    assert 0 <= colours.min() < 0.01 < 0.99 < colours.max() <= 1


# ---------------------------------------------------------------------------------------------- single faces


@pytest.mark.parametrize("workers", [0, 1])
def test_trivial_augment_is_torchvisions_whatever_the_workers(project: Path, workers: int) -> None:
    from torchvision.transforms import v2

    toy.write(project, **{"train.trivial_augment": True, "train.workers": workers})
    p = params.load()
    samples = toy.labelled(p).split("train")
    batches = planned(settings(), len(samples), 8, toy.SIZE + 44)
    step = face_transform.chosen(p.train, (16, 16, 1))
    assert step
    before = torch.get_rng_state()
    ours = torch.cat(list(face_transform.transformed(step, samples, batches, 3, 2, workers)))
    assert torch.equal(torch.get_rng_state(), before), "dropout draws as without it"
    changed = 0
    for sample, found in zip(torch.cat([batch.samples for batch in batches]).tolist(), ours, strict=True):
        face = samples.take(torch.tensor([sample]))[0]
        torch.manual_seed(face_transform.sample_seed(3, 2, sample))
        assert torch.equal(found, v2.TrivialAugmentWide()(face.movedim(2, 0)).movedim(0, 2))
        changed += not torch.equal(found, face)
    assert changed > len(samples) / 2


def test_a_face_that_oversampling_repeats_is_transformed_anew(project: Path) -> None:
    toy.write(project, **{"train.trivial_augment": True, "train.sampling": "over", "train.batch_size": 8})
    p = params.load()
    train = toy.labelled(p).split("train")
    train.labels = (torch.arange(len(train)) >= 4).long()  # four faces of a class are shown as often as fifty
    run = toy.training_run(p, train=train)
    plan = run.plan(0)
    seen: dict[int, list[bytes]] = {}
    for batch, faces in zip(plan, run._transformed_faces(0, plan), strict=True):
        for sample, face in zip(batch.samples.tolist(), faces, strict=True):
            seen.setdefault(sample, []).append(face.numpy().tobytes())
    for sample in range(4):
        assert len(seen[sample]) >= 12
        assert len(set(seen[sample])) > len(seen[sample]) / 2
    resumed = [faces for _, faces in zip(plan[3:], run._transformed_faces(0, plan[3:]), strict=True)]
    whole = list(run._transformed_faces(0, plan))[3:]
    assert all(map(torch.equal, resumed, whole))


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("whole", [False, True])
def test_a_recipe_is_albumentations_called_by_hand_whatever_the_workers(
    project: Path, workers: int, whole: bool
) -> None:
    import albumentations as A

    toy.write(project)
    samples = toy.labelled(params.load()).split("train")
    compose = A.Compose([A.from_dict({"transform": entry}) for entry in RECIPE])
    given = A.to_dict(compose) if whole else RECIPE
    batches = planned(settings(), len(samples), 8, toy.SIZE + 44)
    ours = list(
        face_transform.transformed(
            face_transform.FaceTransform(given, (16, 16, 1)), samples, batches, 3, 2, workers
        )
    )
    assert len(ours) == len(batches)
    faces = samples.take(torch.arange(len(samples))).numpy()
    changed = 0
    for batch, found in zip(batches, ours, strict=True):
        for sample, face in zip(batch.samples.tolist(), found.numpy(), strict=True):
            seed = face_transform.sample_seed(3, 2, sample)
            compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
            assert np.array_equal(face, compose(image=faces[sample])["image"])
            changed += not np.array_equal(face, faces[sample])
    assert changed > len(samples) / 2


def test_samples_and_epochs_draw_differently_and_transforms_independently() -> None:
    flips = face_transform.FaceTransform(RECIPE[:2], (16, 16, 1))
    face = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    corners = {0: "none", 15: "horizontal", 240: "vertical", 255: "both"}
    for epoch in (0, 1):
        seen = [corners[flips(face, face_transform.sample_seed(1, epoch, i))[0, 0, 0]] for i in range(400)]
        # A quarter each; albumentations' own seeding gives "none" and "both" alone.
        assert all(70 <= seen.count(name) <= 130 for name in corners.values())
    seeds = {face_transform.sample_seed(1, epoch, i) for epoch in range(20) for i in range(200)}
    assert len(seeds) == 4000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{"__class_fullname__": "HorizontalFlipp", "p": 0.5}], "HorizontalFlipp"),
        ([{"p": 0.5}], "__class_fullname__"),
        ({"version": 1}, "transform"),
        ([{"__class_fullname__": "HorizontalFlip", "p": 1.5}], "p"),
        ([{"__class_fullname__": "CLAHE", "p": 0.5, "clip": 3}], "clip"),
        ([{"__class_fullname__": "CenterCrop", "p": 1.0, "height": 8, "width": 8}], "8x8x1"),
        ([{"__class_fullname__": "ToFloat", "p": 1.0}], "float32"),
    ],
)
def test_an_invalid_recipe_is_one_line(given: Any, expected: str) -> None:
    with pytest.raises(UserError, match=r"train\.albumentations") as error:
        face_transform.FaceTransform(given, (16, 16, 1))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_recipe_that_fails_on_a_face_is_one_line(
    project: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.write(project)
    samples = toy.labelled(params.load()).split("train")
    failing = face_transform.FaceTransform(RECIPE, (16, 16, 1))

    def transform(image: np.ndarray) -> None:
        raise ValueError("two\nlines")

    transform.set_random_state = lambda *generators: None  # type: ignore[attr-defined]
    monkeypatch.setattr(failing, "_transform", transform)
    with pytest.raises(UserError, match=r"train\.albumentations.*two lines$"):
        list(face_transform.transformed(failing, samples, planned(settings(), len(samples)), 0, 0, workers))
