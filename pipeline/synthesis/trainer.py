"""Train one GAN: planned steps, averaged weights, exact resumption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.methods.gans import from_faces
from pipeline.synthesis import diffaugment
from pipeline.synthesis.collapse import Figures, least_spread, record_epoch
from pipeline.synthesis.penalty import gradient_penalty
from pipeline.synthesis.task import GanProgress, GanTask
from pipeline.training import checkpoint
from pipeline.training.average import Average
from pipeline.training.replay import Replays

# Sample faces that are kept during training, and how many times they are.
SHOWN, STAGES = 8, 8


class GanTrainer:
    """Training of one GAN, from fresh weights or from its checkpoint.

    Args:
        task: the GAN to train.
        device: device of the training.
    """

    def __init__(self, task: GanTask, device: torch.device) -> None:
        self.task, self.settings, self.device = task, task.settings, device
        self.gan = task.new_networks()
        # Convolutions are faster in channels-last order, on CPU and GPU.
        self.generator, self.critic = (
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for network in (self.gan.generator, self.gan.critic)
        )
        self.networks = {"generator": self.generator, "critic": self.critic}
        self.optimizers = {
            name: _adam(network, task.settings.learning_rate, self.gan.betas, device)
            for name, network in self.networks.items()
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
        # Sum of each figure over the steps of the epoch.
        self.sums = torch.zeros(len(Figures._fields), dtype=torch.float64, device=device)
        _, size, _, channels = task.faces.shape
        self.shown = torch.zeros((0, SHOWN, channels, size, size))
        self.progress = GanProgress()
        self.resumed = self._resume()
        self.saved = time.monotonic()

    def run(self, on_step: Callable[[], None]) -> None:
        """Train to the last epoch.

        Args:
            on_step: called after each step.

        Raises:
            UserError: a loss is not a number, or the training has collapsed. The checkpoint holds the last good
                state.
        """
        while self.progress.epoch < self.task.epochs():
            self._epoch(on_step)
        self.save()

    def weights(self) -> dict[str, Tensor]:
        """Return the generator's weights: the moving average, if there is one."""
        with self.average.applied():
            return checkpoint.snapshot(self.generator)

    def _epoch(self, on_step: Callable[[], None]) -> None:
        progress = self.progress
        parts = self.task.plan(progress.epoch)
        # One transfer per epoch: each transfer to a GPU waits for it.
        plan = torch.from_numpy(np.concatenate(parts)).to(self.device).split([len(part) for part in parts])
        self.generator.train()
        while progress.step < len(plan):
            self._step(plan[progress.step])
            progress.step += 1
            on_step()
            if time.monotonic() - self.saved >= self.task.checkpoint_seconds:
                self.save()
        record_epoch(self._figures(), self.least_spread, self.task, progress)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.sums.zero_()
        if progress.epoch == 1 or progress.epoch % max(1, self.task.epochs() // STAGES) == 0:
            progress.shown.append(progress.epoch)
            self.shown = torch.cat([self.shown, self._shown()[None]])

    def _step(self, chosen: Tensor) -> None:
        """Take one step of the critic and, every `critic_steps` steps, one of the generator."""
        progress = self.progress
        seed = self.task.random(progress.epoch, progress.step, 1).integers(2**63)
        self.random.manual_seed(int(seed))
        done = progress.epoch * self.task.steps_per_epoch() + progress.step + 1
        with_generator = done % self.gan.critic_steps == 0
        self.replays.run(partial(self._learn, with_generator), [chosen], with_generator)

    def _learn(self, with_generator: bool, chosen: Tensor) -> Sequence[Tensor]:
        """Train the critic on the `chosen` faces, and the generator with `with_generator`."""
        gan, settings = self.gan, self.settings
        count = len(chosen)
        real, labels = from_faces(self.faces[chosen]), self.labels[chosen]
        if settings.mirror:
            mirrored = self._uniform(count) < 0.5
            real = torch.where(mirrored[:, None, None, None], real.flip(3), real)
        noise = torch.randn(count, settings.latent, generator=self.random, device=self.device)
        with self._autocast(), torch.set_grad_enabled(with_generator):
            generated = self.generator(noise, labels).float()

        self.critic.requires_grad_(True)
        seen = self._augmented(real), self._augmented(generated.detach())
        with self._autocast():
            # Real and generated faces pass through batch norm separately, as published.
            scores = [self.critic(images, labels).float() for images in seen]
        loss = gan.critic_loss(*scores)
        if gan.mismatched:
            with self._autocast():
                misnamed = self.critic(seen[0], self._other(labels)).float()
            loss = torch.lerp(loss, gan.critic_loss(scores[0], misnamed), gan.mismatched)
        total = loss
        if gan.penalty:
            shares = self._uniform(count)
            total = loss + gan.penalty * gradient_penalty(lambda x: self.critic(x, labels), *seen, shares)
        self._update("critic", total)

        fooled = torch.zeros((), device=self.device)
        if with_generator:
            self.critic.requires_grad_(False)  # saves a third of the backward pass
            with self._autocast():
                answers = self.critic(self._augmented(generated), labels).float()
            fooled = gan.generator_loss(answers)
            self._update("generator", fooled)
            self.average.update()
        with torch.no_grad():
            spread = generated.std(0).mean() if count > 1 else torch.ones_like(loss)
            distance = scores[0].mean() - scores[1].mean()
            # In the order of `Figures`.
            self.sums += torch.stack([total, loss, fooled, distance, spread, torch.cat(scores).std()])
        return ()

    def _other(self, labels: Tensor) -> Tensor:
        """Return for each label another class that has faces, each with the same probability."""
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
        return diffaugment.apply(images, self.kinds, diffaugment.draw(len(images), self.random))

    def _autocast(self) -> Any:
        precision = self.task.precision
        # Trainings on a GPU are threads that share autocast's cache of cast weights. If another thread clears it
        # between two uses of a weight, the gradients of this weight are summed in another precision.
        cached = self.device.type != "cuda"
        return torch.autocast(
            self.device.type, precision, enabled=precision != torch.float32, cache_enabled=cached
        )

    def _figures(self) -> Figures:
        steps = self.task.steps_per_epoch()
        done = self.progress.epoch * steps
        generator_steps = (done + steps) // self.gan.critic_steps - done // self.gan.critic_steps
        sums = Figures(*self.sums.tolist())
        means = Figures(*(value / steps for value in sums))
        return means._replace(generator=sums.generator / max(1, generator_steps))

    @torch.no_grad()
    def _shown(self) -> Tensor:
        with self.average.applied():
            self.generator.eval()
            faces = self.generator(self.shown_noise.to(self.device), self.shown_labels.to(self.device))
            self.generator.train()
        return faces.float().cpu()

    def save(self) -> None:
        """Write the checkpoint. A bad state is not written, so that the file keeps the last good one."""
        self.saved = time.monotonic()
        if self.progress.collapsed or not torch.isfinite(self.sums).all():
            return
        tensors = {"sums": self.sums, "shown": self.shown}
        tensors |= checkpoint.prefixed("average", self.average.weights)
        for name, network in self.networks.items():
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
        for name, network in self.networks.items():
            network.load_state_dict(checkpoint.under(name, tensors))
            checkpoint.restore_optimizer(
                self.optimizers[name], checkpoint.under(f"{name}_optimizer", tensors)
            )
        self.progress = GanProgress(**about)
        return True


def _adam(
    network: nn.Module, learning_rate: float, betas: tuple[float, float], device: torch.device
) -> torch.optim.Adam:
    if device.type == "cuda":  # one kernel, with its step count on the GPU: a replay needs that
        return torch.optim.Adam(network.parameters(), learning_rate, betas, fused=True, capturable=True)
    return torch.optim.Adam(network.parameters(), learning_rate, betas, foreach=True)
