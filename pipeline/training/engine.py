"""The training run: epochs of planned steps, the best epoch by accuracy on `valid`, exact resumption."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.core.progress import bar
from pipeline.inference.classifier import build_network
from pipeline.inference.crops import centre_crop
from pipeline.inference.probabilities import probabilities
from pipeline.inference.samples import Samples
from pipeline.methods.losses import Loss
from pipeline.params.model import Params
from pipeline.training import checkpoint, pretrained, recipe, transform
from pipeline.training.average import Average
from pipeline.training.plan import Batch, epoch_plan, sampler, steps_per_epoch
from pipeline.training.processes import Processes
from pipeline.training.replay import Replays
from pipeline.training.schedule import learning_rate
from pipeline.training.transform import smooth
from pipeline.training.whole_batch import WholeBatch

Epoch = dict[str, float]


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: the epoch being trained, from 0.
        step: steps of it that are done.
        history: `loss` on train and, where there is such a split, `accuracy` on valid, for each finished epoch.
        best: index in `history` of the epoch with the best accuracy on valid; the first one wins a tie.
    """

    epoch: int = 0
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    best: int = -1


class Run:
    """One training run, from fresh weights or from its checkpoint.

    Args:
        params: the whole of params.yaml.
        train: samples to learn from.
        valid: samples that choose the best epoch; None if the data set has no such split.
        device: where to compute.
        precision: of the forward passes.
        path: where the checkpoint lies; it exists only while a run is unfinished.
        processes: that train together; each has a `Run` of its own.

    Raises:
        UserError: a batch has fewer samples than there are processes.
    """

    def __init__(
        self,
        params: Params,
        train: Samples,
        valid: Samples | None,
        device: torch.device,
        precision: torch.dtype,
        path: Path,
        processes: Processes = Processes(),
    ) -> None:
        self.processes = processes
        self.params, self.settings, self.path = params, params.train, path
        self.train, self.valid = train.to(device), valid and valid.to(device)
        self.device, self.precision = device, precision
        shape = train.tables[0].shape
        given = self.settings.albumentations
        self.recipe = None if given is None else recipe.Recipe(given, shape)
        self.transform = partial(transform.draw, self.settings, shape[0])

        torch.manual_seed(params.seed)
        network = build_network(params)
        self.starts = pretrained.starts(network, params)
        self.network = network.to(device)
        name, settings = params.chosen("optimizer")
        self.optimizer = importlib.import_module(f"pipeline.methods.optimizers.{name}").build(
            settings, self.network
        )
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        name, settings = params.chosen("loss")
        counts = torch.bincount(self.train.labels, minlength=len(params.classes))
        build = importlib.import_module(f"pipeline.methods.losses.{name}").build
        self.loss: Loss = build(settings, counts, self.network.head.in_features).to(device)
        self.count, self.order = sampler(self.train.labels.numpy(), self.settings.sampling)
        smallest = self.count // steps_per_epoch(self.count, self.settings.batch_size)
        if smallest < processes.size:
            raise UserError(
                f"params.yaml: train.torchrun: found {processes.size} processes, allowed: at most {smallest}, the "
                "samples of the smallest batch"
            )
        name, settings = params.chosen("augment")
        self.augment = importlib.import_module(f"pipeline.methods.augments.{name}")
        self.draw = partial(self.augment.draw, settings)

        self.progress = Progress()
        self.average = Average(self.network, self.settings.ema)
        self.replays = Replays(device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.best_weights: dict[str, Tensor] = {}
        self.resumed = self._resume()
        self.saved = time.monotonic()  # across epochs: a short one alone would never be long enough

    def fit(self, on_epoch: Callable[[int, Epoch], None]) -> None:
        """Train to the last epoch, or until `train.patience` epochs went by without a better one.

        Args:
            on_epoch: called with index and figures of every epoch; first for those before the resumption.

        Raises:
            UserError: the loss is no longer a number.
        """
        for index, figures in enumerate(self.progress.history):
            on_epoch(index, figures)
        while self.progress.epoch < self.settings.epochs and not self._out_of_patience():
            self._epoch()
            on_epoch(self.progress.epoch - 1, self.progress.history[-1])
        final = self.best_weights if self.progress.best >= 0 else self.average.weights
        if final:
            self.network.load_state_dict(final)

    def plan(self, epoch: int) -> list[Batch]:
        """Draw the plan of an epoch; all processes draw the same."""
        settings = self.settings
        return epoch_plan(
            self.params.seed,
            epoch,
            self.count,
            settings.batch_size,
            margin=self.train.tables[0].shape[0] - settings.crop,
            crop=settings.crop,
            mirror=settings.mirror,
            draw=self.draw,
            order=self.order,
            transform=self.transform,
        )

    def _epoch(self) -> None:
        here, train, settings = self.progress, self.train, self.settings
        plan = self.plan(here.epoch)
        sizes = [len(batch.samples) for batch in plan]
        plan = [batch.part(self.processes.part(size)) for batch, size in zip(plan, sizes, strict=True)]
        faces: Iterator[Tensor | None] = repeat(None)
        if self.recipe:
            rest = plan[here.step :]
            faces = recipe.prepared(self.recipe, train, rest, self.params.seed, here.epoch, settings.workers)
        self.network.train()
        shows = self.processes.rank == 0
        with bar(
            len(plan), desc=f"epoch {here.epoch + 1}/{settings.epochs}", unit="steps", shows=shows
        ) as shown:
            shown.update(here.step)
            while here.step < len(plan):
                size = sizes[here.step]
                self.loss_sum += self._step(plan[here.step], size, next(faces)) * size
                here.step += 1
                shown.update()
                if time.monotonic() - self.saved >= settings.checkpoint_seconds:
                    self.save()
                    self.saved = time.monotonic()
            figures = {"loss": self.loss_sum.item() / self.count}
            if not math.isfinite(figures["loss"]):
                raise UserError(
                    f"training diverged in epoch {here.epoch + 1}: the loss is {figures['loss']}; lower "
                    f"optimizers.{self.params.optimizer}.learning_rate or raise train.warmup"
                )
            if self.valid is not None:
                with self.average.applied():
                    figures["accuracy"] = self._accuracy(self.valid)
            shown.set_postfix(figures)
        here.history.append(figures)
        if "accuracy" in figures and (
            here.best < 0 or figures["accuracy"] > here.history[here.best]["accuracy"]
        ):
            here.best = here.epoch
            with self.average.applied():
                self.best_weights = checkpoint.snapshot(self.network)
        here.epoch, here.step = here.epoch + 1, 0
        self.loss_sum.zero_()

    def _step(self, batch: Batch, size: int, faces: Tensor | None = None) -> Tensor:
        """Take a step and return the batch's mean loss.

        Args:
            batch: this process's part.
            size: samples in the whole batch.
            faces: the part's, if they are prepared already.
        """
        here, train = self.progress, self.train
        steps = steps_per_epoch(self.count, self.settings.batch_size)
        done, total = here.epoch * steps + here.step, self.settings.epochs * steps
        for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = peak * learning_rate(self.settings, done, total)
        # Dropout draws from torch's own generator; seeded by step, it needs no place in the checkpoint.
        torch.manual_seed(
            int(np.random.default_rng((self.params.seed, here.epoch, here.step)).integers(2**63))
        )

        batch = _on(batch, self.device)
        faces = train.take(batch.samples) if faces is None else faces.to(self.device)
        images = transform.apply(
            faces, self.settings.crop, batch.top, batch.left, batch.mirrored, batch.transform
        )
        targets = smooth(train.targets[batch.samples], self.settings.label_smoothing)
        own = len(batch.partner)
        views = self.augment.apply(
            images[:own], targets[:own], images[batch.partner], targets[batch.partner], batch.draws
        )
        weights = [view.weight * own / size for view in views]
        given = [tensor for view in views for tensor in (view.images, view.targets)]
        work = partial(self._learn, size, weights)
        alone = self.processes.size == 1
        loss, features, gradients = self.replays.run(work, given) if alone else work(*given)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        self.processes.add([*(gradient for _, gradient in gradients), loss])
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        # Of the last view, the real faces where there are several.
        targets = views[-1].targets
        self.loss.update(self.processes.whole(features, size), self.processes.whole(targets, size))
        self.average.update()
        return loss

    def _learn(
        self, size: int, weights: Sequence[float], *views: Tensor
    ) -> tuple[Tensor, Tensor, list[tuple[nn.Parameter, Tensor]]]:
        """Return the loss, the last view's features, and each parameter that learns with its gradient.

        Args:
            size: samples in the whole batch.
            weights: of the views in the loss.
            views: images and targets of each view.
        """
        loss = torch.zeros((), device=self.device)
        with WholeBatch(self.processes, size) if self.processes.size > 1 else nullcontext():
            for weight, images, targets in zip(weights, views[::2], views[1::2], strict=True):
                with torch.autocast(
                    self.device.type, self.precision, enabled=self.precision != torch.float32
                ):
                    logits, features = self.network(images)
                loss = loss + weight * self.loss(logits, features, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [(weight, weight.grad) for weight in self.network.parameters() if weight.grad is not None]
        return loss.detach(), features.detach(), gradients

    def _accuracy(self, samples: Samples) -> float:
        part = samples.part(self.processes.part(len(samples)))
        probability = probabilities(
            self.network, part, self.settings.crop, centre_crop, precision=self.precision
        )
        right = torch.tensor((probability.argmax(1) == part.labels.numpy()).sum(), device=self.device)
        self.processes.add([right])
        return right.item() / len(samples)

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - 1 - self.progress.best
        return self.progress.best >= 0 and 0 < self.settings.patience <= waited

    def save(self) -> None:
        """Write the checkpoint; one process does, for all of them."""
        if self.processes.rank:
            return
        tensors = {
            **checkpoint.prefixed("network", self.network.state_dict()),
            **checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
            **checkpoint.prefixed("average", self.average.weights),
            **checkpoint.prefixed("best", self.best_weights),
            **checkpoint.prefixed("loss", self.loss.state_dict()),
            "loss_sum": self.loss_sum,
        }
        checkpoint.store(self.path, tensors, vars(self.progress))

    def _resume(self) -> bool:
        stored = checkpoint.restore(self.path) if self.processes.rank == 0 else None
        stored = self.processes.first(stored)
        if stored is None:
            return False
        tensors, about = stored
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.network.load_state_dict(checkpoint.under("network", tensors))
        checkpoint.restore_optimizer(self.optimizer, checkpoint.under("optimizer", tensors))
        self.average.restore(checkpoint.under("average", tensors))
        self.best_weights = checkpoint.under("best", tensors)
        self.loss.load_state_dict(checkpoint.under("loss", tensors))
        self.loss_sum = tensors["loss_sum"]
        self.progress = Progress(**about)
        return True


def _on(batch: Batch, device: torch.device) -> Batch:
    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(entry) for key, entry in value.items()}
        return value.to(device, non_blocking=True)

    return Batch(**{name: move(value) for name, value in vars(batch).items()})
