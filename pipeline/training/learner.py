"""What a step of a training run learns from a batch, and what it updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.methods.augments import View
from pipeline.params.model import Train
from pipeline.training import batch_transform
from pipeline.training.average import Average
from pipeline.training.compiler import compiled
from pipeline.training.parts import Parts
from pipeline.training.plan import Batch
from pipeline.training.processes import Processes
from pipeline.training.replay import Replays
from pipeline.training.whole_batch import WholeBatch


class Learnt(NamedTuple):
    """Hold what a step learnt from a batch, before anything is updated.

    Attributes:
        sums: over the batch, float [2]. First the loss: with the reduction `sum` the loss itself, otherwise the loss
            times the samples in the whole batch. Then the number of right predictions for the last view, compared with
            targets that are not smoothed. If a target mixes two classes and one of them is predicted, the prediction
            counts as the share of this class, as in mixup's published code.
        features, targets: of the last view, [n, D] and [n, K]. The loss updates its state from them, such as class
            centres. If there are several views, the last one shows the unmixed faces.
        gradients: the trained parameters with their gradients.
    """

    sums: Tensor
    features: Tensor
    targets: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]


class Learner:
    """Learns from one batch at a time. On a GPU, what recurs is recorded and replayed.

    Args:
        parts: the network and the methods that train it.
        settings: the block `train`.
        precision: of the forward passes.
        processes: the processes that train together; each has its own `Learner`.

    Attributes:
        average: the moving average of the weights.
        replays: the recorded work.
    """

    def __init__(self, parts: Parts, settings: Train, precision: torch.dtype, processes: Processes) -> None:
        self.network, self.optimizer, self.loss = parts.network, parts.optimizer, parts.loss
        self.forward = compiled(self.network) if settings.compile else self.network
        self.augment, self.settings, self.precision = parts.augment, settings, precision
        self.processes = processes
        self.device = device = self.network.head.weight.device
        self.average = Average(self.network, settings.ema)
        self.replays = Replays(device)
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        # A fused optimiser reads its rates from tensors, so a CUDA graph of the whole step can hold it.
        self.fused = device.type == "cuda" and all(g.get("fused") for g in self.optimizer.param_groups)
        if self.fused:
            for group in self.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], device=device)

    def learn(self, size: int, batch: Batch, faces: Tensor, targets: Tensor, factor: float) -> Tensor:
        """Learn from a batch; return two sums over it, see `Learnt`.

        Args:
            size: samples in the whole batch.
            batch: this process's part of it, on the device.
            faces: of this part, uint8 [n, H, W, C].
            targets: of this part, [n, K], rows of sum 1.
            factor: on the learning rate.
        """
        self._set_rates(factor)
        inputs = [faces, targets, *batch.tensors()]
        work = partial(self._learn, size, batch)
        learnt = self.replays.run(work, inputs) if self.processes.size == 1 else work(*inputs)
        if not self.fused:
            for parameter, gradient in learnt.gradients:
                parameter.grad = gradient
            self._update(size, learnt)
        return learnt.sums

    def _set_rates(self, factor: float) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
            if self.fused:
                group["lr"].fill_(peak * factor)
            else:
                group["lr"] = peak * factor

    def _learn(self, size: int, batch: Batch, faces: Tensor, targets: Tensor, *planned: Tensor) -> Learnt:
        """Compute the gradients of a batch; with a fused optimiser, also update everything.

        On a GPU this is recorded and replayed.

        Args:
            size: samples in the whole batch.
            batch: only its names are used; the tensors are in `planned`.
            faces: uint8 [n, H, W, C].
            targets: [n, K], rows of sum 1.
            planned: as `Batch.tensors` returns them.
        """
        views = self.views(batch.holding(planned), faces, targets)
        learnt = self._gradients(size, views)
        if self.settings.sam:
            learnt = learnt._replace(gradients=self._sharpest(size, views, learnt.gradients))
        if self.fused:
            self._update(size, learnt)
        return learnt

    def views(self, batch: Batch, faces: Tensor, targets: Tensor) -> Sequence[View]:
        """Return what the network sees of a batch: crops, mirrored, transformed and augmented.

        Args:
            batch: on the device.
            faces: uint8 [n, H, W, C].
            targets: [n, K], rows of sum 1.
        """
        images = batch_transform.apply(
            faces, self.settings.crop, batch.top, batch.left, batch.mirrored, batch.transform
        )
        own = len(batch.partner)
        return self.augment(
            images[:own], targets[:own], images[batch.partner], targets[batch.partner], batch.draws
        )

    def _update(self, size: int, learnt: Learnt) -> None:
        """Take the optimiser's step, and update the state of the loss and the moving average."""
        self.processes.add([*(gradient for _, gradient in learnt.gradients), learnt.sums])
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        whole = self.processes.whole
        self.loss.update(whole(learnt.features, size), whole(learnt.targets, size))
        self.average.update()

    def _gradients(self, size: int, views: Sequence[View]) -> Learnt:
        """Return what the views of a batch teach, before anything is updated.

        Args:
            size: samples in the whole batch.
            views: of the batch.
        """
        smooth = [batch_transform.smooth(view.targets, self.settings.label_smoothing) for view in views]
        totals = [self._totals(targets) for targets in smooth]
        unit = 1 if self.loss.reduction == "sum" else size
        sums, kept = torch.zeros(2, device=self.device), []
        self.optimizer.zero_grad(set_to_none=True)
        for part in self._parts(len(smooth[-1])):
            loss = torch.zeros((), device=self.device)
            with WholeBatch(self.processes, size) if self.processes.size > 1 else nullcontext():
                for (images, _, weight), targets, total in zip(views, smooth, totals, strict=True):
                    with torch.autocast(
                        self.device.type, self.precision, enabled=self.precision != torch.float32
                    ):
                        logits, features = self.forward(images[part])
                    loss = loss + weight * self.loss(logits, features, targets[part], total)
            loss.backward()
            right = views[-1].targets[part].gather(1, logits.argmax(1, keepdim=True)).sum()
            sums = sums + torch.stack([loss.detach() * unit, right])
            kept.append(features.detach())
        gradients = [(weight, weight.grad) for weight in self.network.parameters() if weight.grad is not None]
        return Learnt(sums, torch.cat(kept), smooth[-1], gradients)

    def _parts(self, count: int) -> Iterator[slice]:
        """Yield the ranges of samples that pass the network one after the other; batch norm needs two in each."""
        parts = max(1, min(self.settings.accumulate, count // 2))
        for part in range(parts):
            yield slice(count * part // parts, count * (part + 1) // parts)

    @torch.no_grad()
    def _sharpest(
        self, size: int, views: Sequence[View], gradients: list[tuple[nn.Parameter, Tensor]]
    ) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the gradients where the loss is highest within `train.sam` of the weights, to first order.

        This is the gradient of sharpness-aware minimisation (Foret et al. 2021, equations 2 and 3). The loss itself,
        the features and batch norm's running statistics are those of the weights as they are.

        Args:
            size: samples in the whole batch.
            views: of the batch.
            gradients: of the weights as they are.
        """
        weights, ascent = zip(*gradients, strict=True)
        self.processes.add(ascent)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in ascent]))
        kept = [weight.clone() for weight in weights]
        torch._foreach_add_(weights, torch._foreach_mul(ascent, self.settings.sam / (norm + 1e-12)))
        statistics = [
            module for module in self.network.modules() if isinstance(module, _BatchNorm) and module.training
        ]
        momenta = [module.momentum for module in statistics]
        for module in statistics:
            module.momentum = 0.0
        with torch.enable_grad():
            there = self._gradients(size, views).gradients
        for module, momentum in zip(statistics, momenta, strict=True):
            module.momentum = momentum
        torch._foreach_copy_(weights, kept)
        return there

    def _totals(self, targets: Tensor) -> Tensor | None:
        """Return the sum of the whole batch's targets, [K]; None if the whole batch passes the network at once."""
        if self.processes.size == 1 and self.settings.accumulate == 1:
            return None
        totals = targets.sum(0)
        self.processes.add([totals])
        return totals
