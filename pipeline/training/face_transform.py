"""TrivialAugment and an albumentations pipeline, applied to each stored face before everything else.

The random numbers for a face follow from (seed, epoch, sample), so a result depends neither on the number of worker
processes nor on the order of batches. All transforms of an albumentations pipeline share one generator. Its own
`set_random_seed` would give each transform the same seed, so two flips of probability 0.5 would always happen together.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.core.ending import worker_ends_with_parent
from pipeline.core.errors import UserError, one_line
from pipeline.inference.samples import Samples
from pipeline.params.model import Train
from pipeline.training.plan import Batch

KEY = "params.yaml: train.albumentations"
PROBES = 8  # random faces on which an albumentations pipeline is tested before a run


Transform = Callable[[np.ndarray, int], np.ndarray]  # of a face, uint8 [H, W, C], and a seed


def chosen(settings: Train, shape: tuple[int, int, int]) -> Transform | None:
    """Return the transforms of single faces that the block `train` chooses, in one function; None if it chooses none.

    Args:
        settings: the block `train`.
        shape: height, width and channels of the faces.

    Raises:
        UserError: as from `FaceTransform`.
    """
    steps: list[Transform] = [TrivialAugment()] if settings.trivial_augment else []
    if settings.albumentations is not None:
        steps.append(FaceTransform(settings.albumentations, shape))
    return partial(_one_after_the_other, steps) if steps else None


def _one_after_the_other(steps: list[Transform], face: np.ndarray, seed: int) -> np.ndarray:
    for step in steps:
        face = step(face, seed)
    return face


class TrivialAugment:
    """One random operation of random strength: torchvision's `TrivialAugmentWide` (Müller and Hutter 2021)."""

    def __init__(self) -> None:
        # Here, because few runs need it, and after the module that makes torchvision importable beside a CPU torch.
        from pipeline.methods.models.parts import torchvision  # noqa: F401

        from torchvision.transforms import v2  # isort: skip

        self._transform = v2.TrivialAugmentWide()

    def __call__(self, face: np.ndarray, seed: int) -> np.ndarray:
        """Return a face, uint8 [H, W, C], transformed with random numbers from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._transform(torch.from_numpy(face).movedim(2, 0)).movedim(0, 2).numpy()


class FaceTransform:
    """An albumentations pipeline that maps a face to a face.

    Args:
        serialised: the return value of `albumentations.to_dict`, or a list of transforms in that form, applied in
            order.
        shape: height, width and channels of the faces.

    Raises:
        UserError: albumentations rejects the pipeline, or the pipeline changes the shape or type of faces.
    """

    def __init__(
        self, serialised: dict[str, Any] | list[dict[str, Any]], shape: tuple[int, int, int]
    ) -> None:
        import albumentations  # here, because the import takes over a second and few runs need it

        if isinstance(serialised, list):
            serialised = {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": serialised}}
        try:
            with warnings.catch_warnings():
                # albumentations only warns of a setting that a transform does not have.
                warnings.simplefilter("error", UserWarning)
                self._transform = albumentations.from_dict(serialised)
        except KeyError as error:
            raise UserError(
                f"{KEY}: the key or class {error} is missing or unknown, allowed: the form that "
                "`albumentations.to_dict` returns"
            ) from None
        except Exception as error:
            raise UserError(f"{KEY}: albumentations rejects the value: {one_line(error)}") from None
        # OpenCV's threads do not survive a fork, and a forked process would wait for them.
        cv2.setNumThreads(1)
        rng = np.random.default_rng(0)
        for seed in range(PROBES):
            self(rng.integers(0, 256, shape, dtype=np.uint8), seed)

    def __call__(self, face: np.ndarray, seed: int) -> np.ndarray:
        """Return a face, uint8 [H, W, C], transformed with random numbers from `seed`.

        Raises:
            UserError: a transform fails on the face, or the transforms change the face's shape or type.
        """
        self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            result = self._transform(image=face)["image"]
        except Exception as error:
            raise UserError(f"{KEY}: a transform fails: {one_line(error)}") from None
        if result.dtype != np.uint8 or result.shape != face.shape:
            raise UserError(
                f"{KEY}: found transforms that return {result.dtype} {_size(result.shape)}, allowed: uint8 "
                f"{_size(face.shape)}, the type and shape of the face"
            )
        return result


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def sample_seed(seed: int, epoch: int, sample: int, repeat: int = 0) -> int:
    """Return the seed of one sample's random numbers, for numpy's `default_rng` and for `random.Random`.

    Args:
        seed: of the run.
        epoch: from 0.
        sample: its row in the training set.
        repeat: how often the epoch has shown the sample before; oversampling repeats samples.
    """
    return int(np.random.SeedSequence((seed, epoch, sample, repeat)).generate_state(1, np.uint64)[0])


def transformed(
    transform: Transform, samples: Samples, plan: list[Batch], seed: int, epoch: int, workers: int
) -> Iterator[Tensor]:
    """Yield the transformed faces of each batch, uint8 [n, H, W, C] on the CPU.

    Args:
        transform: applied to each face.
        samples: the training set.
        plan: batches of the training set.
        seed, epoch: together with a sample's row in the training set, these two decide the sample's random numbers.
        workers: processes that prepare batches in advance; with 0 this process transforms each batch when it is needed.

    Raises:
        UserError: the transform fails on a face, or one of the `workers` was killed.
    """
    loader = DataLoader(
        _TransformedBatches(transform, samples, plan, seed, epoch),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,  # an array goes through a pipe; a tensor needs shared memory, which is often scarce
        worker_init_fn=_prepare_worker,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        generator=torch.Generator(),  # by default the loader would draw its seed from dropout's generator
    )
    try:
        for faces in loader:
            if isinstance(faces, UserError):
                raise faces
            yield torch.from_numpy(faces)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process of train.workers was killed; the machine probably ran out of memory"
        ) from None


class _TransformedBatches(Dataset):
    def __init__(
        self, transform: Transform, samples: Samples, plan: list[Batch], seed: int, epoch: int
    ) -> None:
        self.transform, self.samples, self.seed, self.epoch = transform, samples, seed, epoch
        self.plan = [(batch.samples.numpy(), batch.repeat.tolist()) for batch in plan]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> np.ndarray | UserError:
        rows, repeats = self.plan[step]
        faces = self.samples.gather(rows)
        try:
            for face, sample, repeat in zip(faces, rows.tolist(), repeats, strict=True):
                face[:] = self.transform(face, sample_seed(self.seed, self.epoch, sample, repeat))
        except UserError as error:
            return error  # an error raised in a worker would arrive with the worker's traceback as its text
        return faces


def _unchanged(faces: Any) -> Any:
    return faces


def _prepare_worker(worker: int) -> None:
    cv2.setNumThreads(1)
    worker_ends_with_parent()  # torch's own check comes late: every five seconds, and only between two batches
