"""The training that all GANs share: planned steps, averaged weights, exact resumption, and a stop when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.methods.gans import from_faces
from pipeline.synthesis import augmentation
from pipeline.synthesis.penalty import gradient_penalty
from pipeline.synthesis.task import Progress, Task
from pipeline.synthesis.verdict import Figures, judge, least_spread
from pipeline.training import checkpoint
from pipeline.training.average import Average
from pipeline.training.replay import Replays

SHOWN, STAGES = 8, 8  # latent vectors whose faces are kept while training goes on, and how often


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
        self.least_spread = least_spread(task.faces)
        present = task.present()
        self.present = torch.from_numpy(present).to(device)
        few = len(task.faces) < task.settings.diffaugment_below
        self.kinds = tuple(task.settings.diffaugment) if few else ()
        rng = task.random()
        self.shown_noise = torch.from_numpy(rng.standard_normal((SHOWN, task.settings.latent), np.float32))
        self.shown_labels = torch.from_numpy(np.resize(present, SHOWN))
        # Over an epoch's steps, of each figure.
        self.sums = torch.zeros(len(Figures._fields), dtype=torch.float64, device=device)
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

    def _epoch(self, on_step: Callable[[], None]) -> None:
        here = self.progress
        parts = self.task.plan(here.epoch)
        # At once: a GPU is waited for at each transfer.
        plan = torch.from_numpy(np.concatenate(parts)).to(self.device).split([len(part) for part in parts])
        self.generator.train()
        while here.step < len(plan):
            self._step(plan[here.step])
            here.step += 1
            on_step()
            if time.monotonic() - self.saved >= self.task.checkpoint_seconds:
                self.save()
        judge(self._figures(), self.least_spread, self.task, here)
        here.epoch, here.step = here.epoch + 1, 0
        self.sums.zero_()
        if here.epoch == 1 or here.epoch % max(1, self.task.epochs() // STAGES) == 0:
            here.shown.append(here.epoch)
            self.shown = torch.cat([self.shown, self._shown()[None]])

    def _step(self, chosen: Tensor) -> None:
        """Take a step of the critic and, after each `critic_steps` of them, one of the generator."""
        here = self.progress
        seed = self.task.random(here.epoch, here.step, 1).integers(2**63)
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
            # In the order of `Figures`.
            self.sums += torch.stack([total, loss, fooled, distance, spread, torch.cat(scores).std()])
        return ()

    def _other(self, labels: Tensor) -> Tensor:
        """Return for each label one of the other classes that there are, each equally often."""
        present = self.present
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
        return augmentation.apply(images, self.kinds, augmentation.draw(len(images), self.random))

    def _autocast(self) -> Any:
        precision = self.task.precision
        # On a GPU trainings are threads, which share the cache of cast weights: whether another one emptied it between
        # two uses of a weight decides in which precision their gradients are added up.
        cached = self.device.type != "cuda"
        return torch.autocast(
            self.device.type, precision, enabled=precision != torch.float32, cache_enabled=cached
        )

    def _figures(self) -> Figures:
        steps = self.task.steps_per_epoch()
        done = self.progress.epoch * steps
        moved = (done + steps) // self.pair.critic_steps - done // self.pair.critic_steps
        sums = Figures(*self.sums.tolist())
        means = Figures(*(value / steps for value in sums))
        return means._replace(generator=sums.generator / max(1, moved))

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
