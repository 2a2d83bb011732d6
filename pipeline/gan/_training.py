"""The training that all GANs share: planned steps, averaged weights, exact resumption, and a stop when it fails.

Every random number of a step follows from (seed, name, epoch, step), so going on in the middle of an epoch is an index.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import checkpoint
from pipeline.average import Average
from pipeline.errors import UserError
from pipeline.gan import Adversaries, _augment, from_faces
from pipeline.gan._penalty import gradient_penalty
from pipeline.params import Adversarial
from pipeline.replay import Replays

# Epochs in a row in which the critic answers every face alike, or all generated faces look alike: less than that
# happens to trainings that go on well.
COLLAPSED_EPOCHS = 8
# Deviation of pixels (-1..1) and scores below which faces and answers are alike: half a grey level, or a twentieth of
# the real faces' deviation where they hardly differ themselves; and rounding.
ALIKE_PIXELS, ALIKE_SHARE, ALIKE_SCORES = 1 / 255, 0.05, 1e-6

SHOWN, STAGES = 8, 8  # latent vectors whose faces are kept while training goes on, and how often


@dataclass(frozen=True)
class Task:
    """What one GAN learns.

    Attributes:
        name: the class, or `all`.
        faces: uint8 [N, H, W, C], N at least 2.
        labels: class of each face, int64 [N], an index into the classes asked for.
        classes: how many these are.
        make: builds generator and critic.
        settings: of the method.
        seed: of the run.
        precision: of forward passes; losses, penalty and optimisers are float32.
        path: of its checkpoint, which stays when it is done: the stage removes those of all tasks at once.
        checkpoint_seconds: between two checkpoints.
    """

    name: str
    faces: np.ndarray
    labels: np.ndarray
    classes: int
    make: Callable[[Any, int, int, int], Adversaries]
    settings: Adversarial
    seed: int
    precision: torch.dtype
    path: Path
    checkpoint_seconds: float

    def steps_per_epoch(self) -> int:
        """Return the critic's steps in an epoch; batch norm needs batches of two faces."""
        return max(1, min(-(-len(self.faces) // self.settings.batch_size), len(self.faces) // 2))

    def epochs(self) -> int:
        """Return the settings' epochs or, where these hold fewer than `least_steps`, so many that they hold them."""
        return max(self.settings.epochs, -(-self.settings.least_steps // self.steps_per_epoch()))

    def steps(self) -> int:
        """Return the critic's steps in all epochs."""
        return self.epochs() * self.steps_per_epoch()


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the epoch being trained, from 0.
        step: steps of it that are done.
        history: of each finished epoch the mean loss of `critic` and `generator`, and the `distance`: the mean score
            of real faces less that of generated ones, which for WGAN-GP estimates Wasserstein's distance.
        alike: finished epochs in a row in which the training had collapsed.
        shown: epochs, from 1, after which faces were kept.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    alike: int = 0
    shown: list[int] = field(default_factory=list)


class Training:
    """One GAN's training, from fresh weights or from its checkpoint.

    Args:
        task: what to learn, and how.
        device: where to compute.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task, self.settings, self.device = task, task.settings, device
        torch.manual_seed(task.seed)
        _, size, _, channels = task.faces.shape
        self.pair = task.make(task.settings, size, channels, task.classes)
        # Channels-last, which convolutions on CPU and GPU prefer.
        self.generator, self.critic = (
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for network in (self.pair.generator, self.pair.critic)
        )
        self.optimizers = {
            name: _adam(network, task.settings.learning_rate, self.pair.betas, device)
            for name, network in self._networks().items()
        }
        self.average = Average(self.generator, task.settings.ema)
        self.random = torch.Generator(device)
        self.replays = Replays(device, self.random)
        self.faces = torch.from_numpy(task.faces).to(device)
        self.labels = torch.from_numpy(task.labels).to(device)
        deviation = task.faces.std(axis=0).mean() / 127.5
        self.alike = min(ALIKE_PIXELS, ALIKE_SHARE * deviation)
        counts = np.bincount(task.labels, minlength=task.classes)
        self.present = np.flatnonzero(counts)
        self.present_labels = torch.from_numpy(self.present).to(device)
        few = counts.sum() < task.settings.diffaugment_below
        self.kinds = tuple(task.settings.diffaugment) if few else ()
        rng = np.random.default_rng(self._seed())
        self.shown_noise = torch.from_numpy(rng.standard_normal((SHOWN, task.settings.latent), np.float32))
        self.shown_labels = torch.from_numpy(np.resize(self.present, SHOWN))
        # Sums over an epoch: see `_figures`.
        self.sums = torch.zeros(6, dtype=torch.float64, device=device)
        self.shown = torch.zeros((0, SHOWN, channels, size, size))
        self.progress = Progress()
        self.resumed = self._resume()
        self.saved = time.monotonic()

    def run(self, on_step: Callable[[], None]) -> None:
        """Train to the last epoch.

        Args:
            on_step: called after each step.

        Raises:
            UserError: a loss is no longer a number, or the training has collapsed. The checkpoint is the last one
                before that.
        """
        while self.progress.epoch < self.task.epochs():
            self._epoch(on_step)
        self.save()

    def weights(self) -> dict[str, Tensor]:
        """Return the generator's weights, averaged where there is an average."""
        with self.average.applied():
            return checkpoint.snapshot(self.generator)

    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "critic": self.critic}

    def _seed(self, *place: int) -> tuple[int, ...]:
        return (self.task.seed, zlib.crc32(self.task.name.encode()), *place)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """Draw which faces each batch of an epoch holds: each one once or, of several classes, equally many of each."""
        rng = np.random.default_rng(self._seed(epoch))
        count = len(self.faces)
        order = rng.permutation(count)
        if len(self.present) > 1:
            parts = -(-count // len(self.present))
            chosen = [rng.choice(np.flatnonzero(self.task.labels == i), parts) for i in self.present]
            order = rng.permuted(np.stack(chosen, 1), axis=1).ravel()[:count]
        return np.array_split(order, self.task.steps_per_epoch())

    def _epoch(self, on_step: Callable[[], None]) -> None:
        here = self.progress
        parts = self._plan(here.epoch)
        # At once: a GPU is waited for at each transfer.
        plan = torch.from_numpy(np.concatenate(parts)).to(self.device).split([len(part) for part in parts])
        self.generator.train()
        while here.step < len(plan):
            self._step(plan[here.step])
            here.step += 1
            on_step()
            if time.monotonic() - self.saved >= self.task.checkpoint_seconds:
                self.save()
        self._judge(self._figures())
        here.epoch, here.step = here.epoch + 1, 0
        self.sums.zero_()
        if here.epoch == 1 or here.epoch % max(1, self.task.epochs() // STAGES) == 0:
            here.shown.append(here.epoch)
            self.shown = torch.cat([self.shown, self._shown()[None]])

    def _step(self, chosen: Tensor) -> None:
        """Take a step of the critic and, after each `critic_steps` of them, one of the generator."""
        here = self.progress
        seed = np.random.default_rng(self._seed(here.epoch, here.step, 1)).integers(2**63)
        self.random.manual_seed(int(seed))
        done = here.epoch * self.task.steps_per_epoch() + here.step + 1
        moves = done % self.pair.critic_steps == 0
        self.replays.run(partial(self._learn, moves), [chosen], moves)

    def _learn(self, moves: bool, chosen: Tensor) -> Sequence[Tensor]:
        """Learn from the `chosen` faces; the generator too, if it `moves`."""
        pair, settings = self.pair, self.settings
        count = len(chosen)
        real, labels = from_faces(self.faces[chosen]), self.labels[chosen]
        if settings.mirror:
            mirrored = self._uniform(count) < 0.5
            real = torch.where(mirrored[:, None, None, None], real.flip(3), real)
        noise = torch.randn(count, settings.latent, generator=self.random, device=self.device)
        with self._autocast(), torch.set_grad_enabled(moves):
            generated = self.generator(noise, labels).float()

        self.critic.requires_grad_(True)
        seen = self._augmented(real), self._augmented(generated.detach())
        with self._autocast():
            # Each kind goes through batch norm by itself, as published.
            scores = [self.critic(images, labels).float() for images in seen]
        loss = pair.critic_loss(*scores)
        if pair.mismatched:
            with self._autocast():
                misnamed = self.critic(seen[0], self._other(labels)).float()
            loss = torch.lerp(loss, pair.critic_loss(scores[0], misnamed), pair.mismatched)
        total = loss
        if pair.penalty:
            shares = self._uniform(count)
            total = loss + pair.penalty * gradient_penalty(lambda x: self.critic(x, labels), *seen, shares)
        self._update("critic", total)

        fooled = torch.zeros((), device=self.device)
        if moves:
            self.critic.requires_grad_(False)  # its gradients are not needed: a third of the way back
            with self._autocast():
                answers = self.critic(self._augmented(generated), labels).float()
            fooled = pair.generator_loss(answers)
            self._update("generator", fooled)
            self.average.update()
        with torch.no_grad():
            spread = generated.std(0).mean() if count > 1 else torch.ones_like(loss)
            distance = scores[0].mean() - scores[1].mean()
            figures = [total, loss, fooled, distance, spread, torch.cat(scores).std()]
            self.sums += torch.stack(figures)
        return ()

    def _other(self, labels: Tensor) -> Tensor:
        """Return for each label one of the other classes that there are, each equally often."""
        present = self.present_labels
        place = torch.searchsorted(present, labels)
        most = max(2, len(present))
        shift = torch.randint(1, most, labels.shape, generator=self.random, device=self.device)
        return present[(place + shift) % len(present)]

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.random, device=self.device)

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _augmented(self, images: Tensor) -> Tensor:
        if not self.kinds:
            return images
        return _augment.apply(images, self.kinds, _augment.draw(len(images), self.random))

    def _autocast(self) -> Any:
        precision = self.task.precision
        # On a GPU trainings are threads, which share the cache of cast weights: whether another one emptied it between
        # two uses of a weight decides in which precision their gradients are added up.
        cached = self.device.type != "cuda"
        return torch.autocast(
            self.device.type, precision, enabled=precision != torch.float32, cache_enabled=cached
        )

    def _figures(self) -> list[float]:
        """Return means over the epoch's steps: the critic's whole loss, without penalty, the generator's, the distance
        of the scores, the deviation of generated faces and of scores.
        """
        steps = self.task.steps_per_epoch()
        done = self.progress.epoch * steps
        moved = (done + steps) // self.pair.critic_steps - done // self.pair.critic_steps
        sums = self.sums.tolist()
        return [value / (max(1, moved) if i == 2 else steps) for i, value in enumerate(sums)]

    def _judge(self, figures: list[float]) -> None:
        """Note an epoch's figures; stop a training that failed."""
        here = self.progress
        total, critic, generator, distance, spread, answers = figures
        where = f"{self.task.name} in epoch {here.epoch + 1}"
        if not all(map(math.isfinite, figures)):
            raise UserError(
                f"training of the GAN diverged for {where}: a loss is not a number; lower its learning_rate. "
                f"{self._kept()}"
            )
        here.history.append({"critic": critic, "generator": generator, "distance": distance})
        alike = (
            "generated faces" if spread < self.alike else "critic's scores" if answers < ALIKE_SCORES else ""
        )
        here.alike = here.alike + 1 if alike else 0
        if here.alike == COLLAPSED_EPOCHS:
            raise UserError(
                f"training of the GAN collapsed for {where}: all {alike} have been alike for {COLLAPSED_EPOCHS} "
                f"epochs; lower its learning_rate or take another seed. {self._kept()}"
            )

    def _kept(self) -> str:
        stored = checkpoint.restore(self.task.path)
        if stored is None:
            return "No checkpoint had been written"
        return f"The last good state, of epoch {stored[1]['epoch'] + 1}, is {self.task.path}"

    @torch.no_grad()
    def _shown(self) -> Tensor:
        with self.average.applied():
            self.generator.eval()
            faces = self.generator(self.shown_noise.to(self.device), self.shown_labels.to(self.device))
            self.generator.train()
        return faces.float().cpu()

    def save(self) -> None:
        """Write the checkpoint, unless the state is a bad one: what is there then is the last good state."""
        self.saved = time.monotonic()
        if self.progress.alike or not torch.isfinite(self.sums).all():
            return
        tensors = {"sums": self.sums, "shown": self.shown}
        tensors |= checkpoint.prefixed("average", self.average.weights)
        for name, network in self._networks().items():
            tensors |= checkpoint.prefixed(name, network.state_dict())
            tensors |= checkpoint.prefixed(
                f"{name}_optimizer", checkpoint.optimizer_tensors(self.optimizers[name])
            )
        checkpoint.store(self.task.path, tensors, vars(self.progress))

    def _resume(self) -> bool:
        stored = checkpoint.restore(self.task.path)
        if stored is None:
            return False
        tensors, about = stored
        self.shown = tensors.pop("shown")
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.sums = tensors["sums"]
        self.average.restore(checkpoint.under("average", tensors))
        for name, network in self._networks().items():
            network.load_state_dict(checkpoint.under(name, tensors))
            checkpoint.restore_optimizer(
                self.optimizers[name], checkpoint.under(f"{name}_optimizer", tensors)
            )
        self.progress = Progress(**about)
        return True


def _adam(
    network: nn.Module, learning_rate: float, betas: tuple[float, float], device: torch.device
) -> torch.optim.Adam:
    if device.type == "cuda":  # in one kernel, which counts its steps there, so that it can be replayed
        return torch.optim.Adam(network.parameters(), learning_rate, betas, fused=True, capturable=True)
    return torch.optim.Adam(network.parameters(), learning_rate, betas, foreach=True)
