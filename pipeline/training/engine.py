"""The training run: epochs of planned steps, the best epoch on `valid`, exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.progress import bar
from pipeline.inference.samples import Samples
from pipeline.methods.augments import View
from pipeline.params.model import Train
from pipeline.training import batch_transform, checkpoint, face_transform, validation
from pipeline.training.learner import Learner
from pipeline.training.parts import Parts
from pipeline.training.plan import Batch, epoch_plan, sampler, steps_per_epoch
from pipeline.training.processes import Processes
from pipeline.training.schedule import learning_rate_factor
from pipeline.training.validation import EpochFigures

SHOWN = ("train/loss", "valid/accuracy")  # beside the progress bar


class Diverged(UserError):
    """The loss of a run is no longer finite."""


@dataclass
class TrainingState:
    """The progress of a training run.

    Attributes:
        epoch: the epoch being trained, from 0.
        step: finished steps of that epoch.
        history: figures of each finished epoch: `train/loss` and `train/accuracy`; if there is a split valid, also
            `valid/accuracy`, `valid/macro_recall`, `valid/macro_f1` and `valid/loss`.
        best: index in `history` of the best epoch so far by `train.best`; -1 if there is none yet, or if the last epoch
            is kept.
    """

    epoch: int = 0
    step: int = 0
    history: list[EpochFigures] = field(default_factory=list)
    best: int = -1


class TrainingRun:
    """One training run, from fresh weights or from its checkpoint.

    Args:
        parts: the network and the methods that train it.
        settings: the block `train`.
        seed: of everything random.
        train: samples to learn from.
        valid: samples that choose the best epoch. None: the last epoch is kept.
        precision: of the forward passes.
        path: of the checkpoint. `fit` leaves the last one there; the caller deletes or keeps it.
        processes: the processes that train together; each has its own `TrainingRun`.
        title: of the network, in the progress bars before the number of the epoch.

    Raises:
        UserError: a batch has fewer samples than there are processes.
    """

    def __init__(
        self,
        parts: Parts,
        settings: Train,
        seed: int,
        train: Samples,
        valid: Samples | None,
        precision: torch.dtype,
        path: Path,
        processes: Processes = Processes(),
        title: str = "",
    ) -> None:
        self.title = title
        self.network, self.draw, self.per_batch = parts.network, parts.draw, parts.per_batch
        self.settings, self.seed, self.precision, self.path = settings, seed, precision, path
        self.processes = processes
        self.device = device = self.network.head.weight.device
        self.train, self.valid = train.to(device), None
        if valid is not None:  # each process scores its part
            self.valid = valid.at(np.arange(len(valid))[processes.part(len(valid))]).to(device)
        self.face_transform = face_transform.chosen(settings, train.shape)
        self.count, self.order = sampler(train.labels.numpy(), settings.sampling)
        smallest = self.count // steps_per_epoch(self.count, settings.batch_size)
        if smallest < processes.size:
            allowed = f"at most {smallest}, the size of the smallest batch"
            raise UserError.of("params.yaml: train.torchrun", f"{processes.size} processes", allowed)

        self.state = TrainingState()
        self.learner = Learner(parts, settings, precision, processes)
        # Sums over the current epoch so far: the loss and the right predictions, see `Learnt`.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.best_weights: dict[str, Tensor] = {}
        self.resumed = self._resume()
        # Time of the last checkpoint; not reset at an epoch, because an epoch may be shorter than `checkpoint_seconds`.
        self.saved = time.monotonic()

    def fit(self, on_epoch: Callable[[int, EpochFigures], None]) -> None:
        """Train to the last epoch, or until `train.patience` epochs have passed without a better one.

        Args:
            on_epoch: called with index and figures of every epoch, including those before a resumption.

        Raises:
            Diverged: the loss is no longer finite.
        """
        for index, figures in enumerate(self.state.history):
            on_epoch(index, figures)
        while self.state.epoch < self.settings.epochs and not self._out_of_patience():
            self._epoch()
            on_epoch(self.state.epoch - 1, self.state.history[-1])
        final = self.best_weights if self.state.best >= 0 else self.learner.average.weights
        if final:
            self.network.load_state_dict(final)

    def plan(self, epoch: int) -> list[Batch]:
        """Draw the plan of an epoch; all processes draw the same plan."""
        face, settings = self.train.shape[0], self.settings
        # One transfer per epoch, unless the plan is divided or read on the CPU.
        here = self.processes.size == 1 and self.face_transform is None
        return epoch_plan(
            self.seed,
            epoch,
            self.count,
            settings.batch_size,
            margin=face - settings.crop,
            crop=settings.crop,
            mirror=settings.mirror,
            draw=self.draw,
            per_batch=self.per_batch,
            order=self.order,
            transform=partial(batch_transform.draw, settings, face),
            device=self.device if here else torch.device("cpu"),
        )

    def first_views(self) -> Sequence[View]:
        """Return what the network saw in the first step of the run: the views of the whole batch, made again."""
        [batch] = plan = self.plan(0)[:1]
        [faces] = islice(self._transformed_faces(0, plan), 1)
        return self.learner.views(*self._inputs(batch, faces))

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch: the mean over its steps. Of several layers, the highest one counts."""
        steps = steps_per_epoch(self.count, self.settings.batch_size)
        factors = [self._rate_factor(epoch, step) for step in range(steps)]
        return max(self.learner.peak) * sum(factors) / steps

    def _rate_factor(self, epoch: int, step: int) -> float:
        steps = steps_per_epoch(self.count, self.settings.batch_size)
        return learning_rate_factor(self.settings, epoch * steps + step, self.settings.epochs * steps)

    def _epoch(self) -> None:
        state, settings = self.state, self.settings
        plan = self.plan(state.epoch)
        sizes = [len(batch.samples) for batch in plan]
        plan = [batch.part(self.processes.part(size)) for batch, size in zip(plan, sizes, strict=True)]
        self.network.train()
        title = f"{self.title} epoch {state.epoch + 1}/{settings.epochs}".lstrip()
        with bar(len(plan), desc=title, unit="steps", shows=self.processes.rank == 0) as shown:
            shown.update(state.step)
            faces = self._transformed_faces(state.epoch, plan[state.step :])
            while state.step < len(plan):
                size = sizes[state.step]
                self.sums += self._step(plan[state.step], size, next(faces))
                state.step += 1
                shown.update()
                if time.monotonic() - self.saved >= settings.checkpoint_seconds:
                    self.save()
                    self.saved = time.monotonic()
            loss, accuracy = (self.sums / self.count).tolist()
            if not math.isfinite(loss):
                raise Diverged(f"training diverged in epoch {state.epoch + 1}: the loss is {loss}")
            figures = {"train/loss": loss, "train/accuracy": accuracy}
            with self.learner.average.applied():
                if self.valid is not None:
                    figures |= self._scores(self.valid)
                    if self._is_best(figures):
                        state.best = state.epoch
                        self.best_weights = checkpoint.snapshot(self.network)
            shown.set_postfix({name: figures[name] for name in SHOWN if name in figures})
        state.history.append(figures)
        state.epoch, state.step = state.epoch + 1, 0
        self.sums.zero_()

    def _transformed_faces(self, epoch: int, plan: list[Batch]) -> Iterator[Tensor | None]:
        """Yield the faces of each batch of an epoch, transformed one by one; None for each batch if nothing does so."""
        if self.face_transform is None:
            return repeat(None)
        return face_transform.transformed(
            self.face_transform, self.train, plan, self.seed, epoch, self.settings.workers
        )

    def _step(self, batch: Batch, size: int, faces: Tensor | None = None) -> Tensor:
        """Take a step and return two sums over the batch, see `Learnt`.

        Args:
            batch: this process's part of the batch.
            size: samples in the whole batch.
            faces: of this process's part, if they are transformed one by one.
        """
        state = self.state
        factor = self._rate_factor(state.epoch, state.step)
        # Dropout draws from torch's own generator. It is seeded by step, so that no checkpoint has to hold its state.
        torch.manual_seed(int(np.random.default_rng((self.seed, state.epoch, state.step)).integers(2**63)))
        return self.learner.learn(size, *self._inputs(batch, faces), factor)

    def _inputs(self, batch: Batch, faces: Tensor | None) -> tuple[Batch, Tensor, Tensor]:
        """Return a batch, its faces and its targets on the device. `faces` as in `_step`."""
        batch = batch.to(self.device)
        faces = self.train.take(batch.samples) if faces is None else faces.to(self.device)
        return batch, faces, self.train.targets[batch.samples]

    def _scores(self, samples: Samples) -> EpochFigures:
        """Return the figures of the split valid. Each process passes its own samples, and gets the figures of all."""
        logits = validation.centre_logits(self.network, samples, self.settings.crop, self.precision)
        # Evaluation predicts the first of the classes with the largest probability. Two probabilities can be equal
        # after rounding although their logits differ, so the class with the largest logit may be a different one.
        predicted = logits.softmax(1).argmax(1)
        counts = validation.confusion(samples.labels, predicted, logits.shape[1])
        loss = validation.cross_entropy(logits, samples.labels)
        self.processes.add([counts, loss])
        figures = validation.scores(counts) | {"loss": (loss / counts.sum()).item()}
        return {f"valid/{name}": value for name, value in figures.items()}

    def _is_best(self, figures: EpochFigures) -> bool:
        """Return whether an epoch is better than all before it. If `train.best` is `last`, none counts as better."""
        state, rank = self.state, partial(validation.rank, self.settings.best)
        if self.settings.best == "last":
            return False
        return state.best < 0 or rank(figures) > rank(state.history[state.best])

    def _out_of_patience(self) -> bool:
        waited = self.state.epoch - 1 - self.state.best
        return self.state.best >= 0 and 0 < self.settings.patience <= waited

    def save(self) -> None:
        """Write the checkpoint. The first process writes it for all."""
        if self.processes.rank:
            return
        tensors = {
            **checkpoint.prefixed("network", self.network.state_dict()),
            **checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(self.learner.optimizer)),
            **checkpoint.prefixed("average", self.learner.average.weights),
            **checkpoint.prefixed("best", self.best_weights),
            **checkpoint.prefixed("loss", self.learner.loss.state_dict()),
            "sums": self.sums,
        }
        checkpoint.store(self.path, tensors, vars(self.state))

    def _resume(self) -> bool:
        """Continue from the checkpoint; return whether there is one."""
        stored = checkpoint.restore(self.path) if self.processes.rank == 0 else None
        stored = self.processes.first(stored)
        if stored is None:
            return False
        tensors, about = stored
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.network.load_state_dict(checkpoint.under("network", tensors))
        checkpoint.restore_optimizer(self.learner.optimizer, checkpoint.under("optimizer", tensors))
        self.learner.average.restore(checkpoint.under("average", tensors))
        self.best_weights = checkpoint.under("best", tensors)
        self.learner.loss.load_state_dict(checkpoint.under("loss", tensors))
        self.sums = tensors["sums"]
        self.state = TrainingState(**about)
        return True
