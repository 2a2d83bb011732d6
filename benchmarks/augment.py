"""Time of the augmentations: FMix's masks over its authors' sampler, each mixing method over torchvision's.

Ours is what a step pays for a batch, the gathering of partners and the method: lambdas and boxes, one for each face,
are drawn beforehand for a whole epoch. Of torchvision the transform of `v2` that does the same or, for MixAugment and
MixCut, the first half of it; it draws one lambda for a batch.

Times are processor time of one thread, so that other work on the machine counts as little as can be.

    python benchmarks/augment.py [rounds]
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy.stats import beta

from pipeline import params
from pipeline.methods.augments import fmix
from pipeline.methods.models.parts import torchvision  # noqa: F401 - makes torchvision importable beside a CPU torch

PARAMS = params.load(Path(__file__).parents[1] / "params.yaml")
BATCH, SIZE, CLASSES = 128, 48, 8
THEIRS = {"mixup": "MixUp", "mixaugment": "MixUp", "cutmix": "CutMix", "mixcut": "MixUp"}


def published_grey(size: int, decay: float) -> np.ndarray:
    """Return a grey image [size, size] as the sampler of ecs-vlc/FMix makes it, its slip included.

    Noise has the axes (frequency down, frequency across, part); the slip reads rows 0 and 1 of the first axis
    where the two parts are meant.
    """
    across = np.fft.fftfreq(size)[: size // 2 + 1 + size % 2]
    frequencies = np.sqrt(np.fft.fftfreq(size)[:, None] ** 2 + across**2)
    noise = np.random.randn(*frequencies.shape, 2)  # noqa: NPY002 - its generator
    noise /= np.maximum(frequencies, 1 / size)[..., None] ** decay
    image = np.fft.irfftn(noise[0] + 1j * noise[1], (size, size), axes=(0, 1))
    image -= image.min()
    return image / image.max()


def published_mask(size: int, decay: float, alpha: float) -> np.ndarray:
    """Return a mask [size, size] of zeros and ones as the sampler of ecs-vlc/FMix makes it."""
    lam = beta.rvs(alpha, alpha)
    image = published_grey(size, decay).reshape(-1)
    order = image.argsort()[::-1]
    kept = int(np.ceil(lam * image.size) if np.random.random() > 0.5 else np.floor(lam * image.size))  # noqa: NPY002
    image[order[:kept]], image[order[kept:]] = 1, 0
    return image.reshape(size, size)


def tensors(draws: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in draws.items()}


def ratio(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Return the median times in ms of both, run in turn, and the median of their ratio."""
    times = []
    for _ in range(rounds + 2):
        pair = []
        for run in (ours, theirs):
            start = time.thread_time()
            run()
            pair.append(1000 * (time.thread_time() - start))
        times.append(pair)
    times = times[2:]  # the first rounds pay for first calls
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )


def main(rounds: str = "15") -> None:
    import torchvision.transforms.v2 as v2

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for kind in ("isotropic", "official"):

        def masks(kind: str = kind) -> torch.Tensor:
            draws = tensors(
                fmix.draw(PARAMS.augments.fmix.model_copy(update={"mask": kind}), rng, BATCH, SIZE)
            )
            return fmix.masks(draws, SIZE, SIZE)

        ours, theirs, over = ratio(
            masks, lambda: [published_mask(SIZE, 3.0, 1.0) for _ in range(BATCH)], int(rounds)
        )
        print(
            f"{BATCH} FMix masks of {SIZE} pixels, {kind:>9}: {ours:5.1f} ms over {theirs:5.1f} ms, ratio {over:.2f}"
        )

    labels = torch.randint(CLASSES, (BATCH,))
    targets = torch.nn.functional.one_hot(labels, CLASSES).float()
    for channels in (1, 3):
        images = torch.rand(BATCH, SIZE, SIZE, channels).permute(0, 3, 1, 2)
        for name, reference in THEIRS.items():
            module = importlib.import_module(f"pipeline.methods.augments.{name}")
            transform = getattr(v2, reference)(num_classes=CLASSES)

            draws = tensors(module.draw(getattr(PARAMS.augments, name), rng, BATCH, SIZE))
            partner = torch.randperm(BATCH)

            def step(
                module: ModuleType = module,
                images: torch.Tensor = images,
                partner: torch.Tensor = partner,
                draws: dict[str, torch.Tensor] = draws,
            ) -> object:
                return module.apply(images, targets, images[partner], targets[partner], draws)

            ours, theirs, over = ratio(step, lambda t=transform, i=images: t(i, labels), 20 * int(rounds))
            print(
                f"{name:>10} over {reference:>6}, {channels} x {SIZE} x {SIZE}: "
                f"{ours:5.2f} ms over {theirs:5.2f} ms, ratio {over:.2f}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
