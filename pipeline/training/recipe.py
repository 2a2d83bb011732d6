"""A recipe of albumentations, applied to stored faces before everything else, in this process or in others.

Each face's draws follow from (seed, epoch, sample), so a result depends neither on the number of processes nor on the
order of the batches. All transforms of a recipe share one generator: albumentations' own `set_random_seed` gives every
transform the same seed and so the same numbers, and two flips of probability 0.5 then always happen together.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.core.errors import UserError, one_line
from pipeline.inference.samples import Samples
from pipeline.training.plan import Batch

KEY = "params.yaml: train.albumentations"
PROBES = 8  # faces that a recipe is tried on before a run


class Recipe:
    """A recipe, ready to be applied.

    Args:
        given: what `albumentations.to_dict` returns, or a list of transforms in that form, applied one by one.
        shape: height, width and channels of the faces.

    Raises:
        UserError: albumentations does not accept the recipe, or it changes the faces' shape or type.
    """

    def __init__(self, given: dict[str, Any] | list[dict[str, Any]], shape: tuple[int, int, int]) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the package index
        import albumentations  # here, as it takes over a second and few runs have a recipe

        if isinstance(given, list):
            given = {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": given}}
        try:
            with warnings.catch_warnings():
                # It merely warns of a setting that a transform does not have.
                warnings.simplefilter("error", UserWarning)
                self._transform = albumentations.from_dict(given)
        except KeyError as error:
            raise UserError(
                f"{KEY}: found or missed {error}, allowed: albumentations' serialised form"
            ) from None
        except Exception as error:
            raise UserError(f"{KEY}: albumentations refuses it: {one_line(error)}") from None
        # Its threads would be lost in forked processes, which then wait for them.
        cv2.setNumThreads(1)
        rng = np.random.default_rng(0)
        for seed in range(PROBES):
            self(rng.integers(0, 256, shape, dtype=np.uint8), seed)

    def __call__(self, face: np.ndarray, seed: int) -> np.ndarray:
        """Return a face, uint8 [H, W, C], transformed with draws that follow from `seed`.

        Raises:
            UserError: a transform fails on it, or changes its shape or type.
        """
        self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            result = self._transform(image=face)["image"]
        except Exception as error:
            raise UserError(f"{KEY}: a transform fails: {one_line(error)}") from None
        if result.dtype != np.uint8 or result.shape != face.shape:
            raise UserError(
                f"{KEY}: found a recipe that makes {result.dtype} {_by(result.shape)} of a face, allowed: uint8 "
                f"{_by(face.shape)}, as it was"
            )
        return result


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def sample_seed(seed: int, epoch: int, sample: int) -> int:
    """Return the seed of one sample's draws: its generators are numpy's `default_rng` and `random.Random` of it."""
    return int(np.random.SeedSequence((seed, epoch, sample)).generate_state(1, np.uint64)[0])


def prepared(
    recipe: Recipe, samples: Samples, plan: list[Batch], seed: int, epoch: int, workers: int
) -> Iterator[Tensor]:
    """Yield the faces of each batch of a plan, transformed: uint8 [n, H, W, C], on the CPU.

    Args:
        recipe: to apply.
        samples: those the plan is of.
        plan: or the rest of it.
        seed, epoch: which decide, with a sample's number, what is drawn for it.
        workers: processes that work some batches ahead; 0: this one, when a batch is asked for.

    Raises:
        UserError: the recipe fails on a face, or a process was killed.
    """
    loader = DataLoader(
        _Faces(recipe, samples, plan, seed, epoch),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,  # an array goes through a pipe; a tensor would need shared memory, often scarce
        worker_init_fn=_start,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        generator=torch.Generator(),  # not the one that dropout draws from
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
            "a process of train.workers was killed, which is what a machine short of memory does"
        ) from None


class _Faces(Dataset):
    def __init__(self, recipe: Recipe, samples: Samples, plan: list[Batch], seed: int, epoch: int) -> None:
        self.recipe, self.samples, self.seed, self.epoch = recipe, samples, seed, epoch
        self.plan = [batch.samples.numpy() for batch in plan]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> np.ndarray | UserError:
        faces = self.samples.gather(self.plan[step])
        try:
            for face, sample in zip(faces, self.plan[step], strict=True):
                face[:] = self.recipe(face, sample_seed(self.seed, self.epoch, int(sample)))
        except UserError as error:
            return error  # raised in another process, it would arrive as that process's traceback
        return faces


def _as_it_is(faces: Any) -> Any:
    return faces


def _start(worker: int) -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends its workers
