"""GanTrainer of one DCGAN over the loop of PyTorch's DCGAN example, and of eight classes side by side.

Both train the published networks at 64 x 64 (latent 100, width 64, batches of 64, Adam 2e-4 with beta1 0.5) on the
same faces. The example's loop is written here from its published structure: separate backward passes for real,
generated and fooled faces, losses and scores read after every step, float32, default layout, batches of a DataLoader.
Ours runs as the stage does: in the precision that `train.precision: auto` picks, with the moving average and
mirroring. They run in turn, in one process, a few rounds.

Side by side: eight DCGANs of a class each (48 x 48, width 32, batches of 16) by `gans.processes: 0` over the same eight
one after the other. On a GPU, which is faster, both parts train for more epochs.

    python benchmarks/gan.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.inference.device import pick, pick_precision
from pipeline.methods.gans import dcgan
from pipeline.methods.gans.parts.convolutional import Critic, Decoder
from pipeline.params.gans import DCGANSettings
from pipeline.synthesis.generators import worthwhile_processes
from pipeline.synthesis.task import GanTask
from pipeline.synthesis.trainer import GanTrainer
from pipeline.synthesis.workers import train_tasks

FACES, BATCH, LATENT, WIDTH, SIZE = 1280, 64, 100, 64, 64
DEVICE = pick("auto")
CLASSES, FACES_OF_A_CLASS = "abcdefgh", 192
EPOCHS, EPOCHS_OF_EIGHT = (25, 150) if DEVICE.type == "cuda" else (1, 12)
PRECISION = pick_precision("auto", DEVICE)


def settings(**changes: object) -> DCGANSettings:
    common = {
        "epochs": 1,
        "least_steps": 0,
        "batch_size": BATCH,
        "learning_rate": 2e-4,
        "latent": LATENT,
        "width": WIDTH,
    }
    others = {"ema": 0.99, "mirror": True, "diffaugment": [], "diffaugment_below": 0}
    return DCGANSettings.model_validate(common | others | changes)


def task(faces: np.ndarray, path: Path, params: DCGANSettings, name: str = "fear") -> GanTask:
    labels = np.zeros(len(faces), np.int64)
    return GanTask(name, faces, labels, 1, dcgan.build, params, 1, PRECISION, path, 1e9)


def example(faces: np.ndarray) -> Callable[[], None]:
    """Return an epoch of the example's loop."""
    torch.manual_seed(1)
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    loader = DataLoader(TensorDataset(images), batch_size=BATCH, shuffle=True)
    generator = Decoder(LATENT, SIZE, 1, WIDTH).to(DEVICE)
    discriminator = Critic(SIZE, 1, WIDTH).to(DEVICE)
    update_d, update_g = (
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for network in (discriminator, generator)
    )
    criterion = nn.BCEWithLogitsLoss()

    def epoch() -> None:
        for (batch,) in loader:
            real = batch.to(DEVICE)
            nobody = torch.zeros(len(real), dtype=torch.int64, device=DEVICE)
            discriminator.zero_grad()
            output = discriminator(real, nobody)
            loss_real = criterion(output, torch.ones_like(output))
            loss_real.backward()
            shown = [output.mean().item()]
            fake = generator(torch.randn(len(real), LATENT, device=DEVICE), nobody)
            output = discriminator(fake.detach(), nobody)
            loss_fake = criterion(output, torch.zeros_like(output))
            loss_fake.backward()
            shown.append(output.mean().item())
            update_d.step()
            generator.zero_grad()
            output = discriminator(fake, nobody)
            loss = criterion(output, torch.ones_like(output))
            loss.backward()
            shown += [output.mean().item(), loss.item(), (loss_real + loss_fake).item()]
            update_g.step()

    return epoch


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def one_dcgan(rounds: int, scratch: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (FACES, SIZE, SIZE, 1), np.uint8)
    theirs = example(faces)
    ours = GanTrainer(task(faces, scratch / "one", settings(epochs=10_000)), DEVICE)
    times: dict[str, list[float]] = {"the example's loop": [], "ours": []}
    for _ in range(rounds + 1):
        times["the example's loop"].append(seconds(lambda: [theirs() for _ in range(EPOCHS)]))
        times["ours"].append(seconds(lambda: [ours._epoch(lambda: None) for _ in range(EPOCHS)]))
    ratios = [a / b for a, b in zip(*times.values(), strict=True)][1:]
    for name, found in times.items():
        print(f"{name:>20}: {EPOCHS * FACES / statistics.median(found[1:]):,.0f} faces/s")
    print(f"{'ratio':>20}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def eight_classes(rounds: int, scratch: Path) -> None:
    rng = np.random.default_rng(0)
    params = settings(epochs=EPOCHS_OF_EIGHT, batch_size=16, latent=64, width=32)
    shape = (FACES_OF_A_CLASS, 48, 48, 1)
    tasks = [task(rng.integers(0, 256, shape, np.uint8), scratch, params, name) for name in CLASSES]
    ratios, together, apart = [], [], []
    for turn in range(rounds):
        found = []
        for processes in (1, min(8, worthwhile_processes(DEVICE))):
            fresh = [replace(of, path=scratch / f"{of.name}-{turn}-{processes}") for of in tasks]
            found.append(
                seconds(lambda fresh=fresh, n=processes: train_tasks(fresh, DEVICE, n, f"{n} at a time"))
            )
        apart.append(found[0])
        together.append(found[1])
        ratios.append(found[1] / found[0])
    print(f"{'one after the other':>20}: {statistics.median(apart):.1f} s for eight classes")
    print(f"{'side by side':>20}: {statistics.median(together):.1f} s, starting the processes included")
    print(f"{'ratio':>20}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main(rounds: str = "3") -> None:
    print(f"on {DEVICE}, ours in {str(PRECISION).removeprefix('torch.')}")
    with tempfile.TemporaryDirectory() as folder:
        one_dcgan(int(rounds), Path(folder))
        eight_classes(int(rounds), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
