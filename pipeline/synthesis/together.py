"""Several GANs side by side: small networks leave most of a GPU, or a second core, idle.

On a processor each has a process of its own. On a GPU each has a stream of one process, since the kernels of several
processes take turns, and those of several streams run at once.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_EXCEPTION,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.core.progress import bar
from pipeline.methods.gans import Generator, to_faces
from pipeline.synthesis.task import Progress, Task
from pipeline.synthesis.training import Training

# Weights are drawn from the random numbers that all threads share.
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Trained:
    """What comes out of a task, in arrays: a worker's tensors would end with it.

    Attributes:
        weights: of the generator.
        progress: of the whole training.
        shown: faces of the same latent vectors after the epochs `progress.shown`, uint8 [E, n, H, W, C].
        resumed: whether an earlier process had begun it.
    """

    weights: dict[str, np.ndarray]
    progress: Progress
    shown: np.ndarray
    resumed: bool


def train(tasks: Sequence[Task], device: torch.device, processes: int, title: str) -> list[Trained]:
    """Train all tasks, in their order or side by side; a killed one goes on where it stopped.

    Args:
        tasks: independent of each other.
        device: of all of them.
        processes: how many run side by side. On a processor each takes its share of the cores, so that figures of a
            task do not depend on how many others are unfinished.
        title: what the progress bar says.

    Raises:
        UserError: one of them failed, or its process was killed; the others keep their checkpoints.
    """
    with bar(sum(task.steps() for task in tasks), desc=title, unit="steps") as shown:
        if processes == 1:
            return [_train(task, device, shown.update) for task in tasks]
        pool, steps, stop = _pool(device, processes)
        counter = threading.Thread(target=_count, args=(steps, shown.update), daemon=True)
        counter.start()
        futures: list[Future[Trained]] = []
        try:
            futures = [pool.submit(_train_in_worker, task, device) for task in tasks]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [f for f in futures if f.done() and not f.cancelled() and f.exception()]
            return [future.result() for future in failed or futures]
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, which is what a machine short of memory does; gans.processes: 1 trains "
                "one GAN after the other"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            steps.put(0)
            counter.join()


def _train(task: Task, device: torch.device, on_steps: Callable[[int], Any]) -> Trained:
    with _BUILDING:
        training = Training(task, device)
    here = training.progress
    on_steps(here.epoch * task.steps_per_epoch() + here.step)
    training.run(lambda: on_steps(1))
    weights = {name: tensor.cpu().numpy() for name, tensor in training.weights().items()}
    return Trained(weights, here, np.stack([to_faces(some) for some in training.shown]), training.resumed)


def generators(task: Task, trained: Trained | None, device: torch.device) -> dict[int, Generator]:
    """Return the generator of each class that a task has faces of, by index: trained, or as training begins."""
    torch.manual_seed(task.seed)
    _, size, _, channels = task.faces.shape
    network = task.make(task.settings, size, channels, task.classes).generator
    if trained:
        weights = {name: torch.from_numpy(values) for name, values in trained.weights.items()}
        network.load_state_dict(weights)
    network.to(device).eval()
    counts = np.bincount(task.labels, minlength=task.classes)
    latent = task.settings.latent
    return {int(i): Generator(network, latent, int(i), int(counts[i])) for i in np.flatnonzero(counts)}


def _count(steps: Any, update: Callable[[int], Any]) -> None:
    while (done := steps.get()) > 0:
        update(done)


_steps: Any
_stop: Any


def _pool(device: torch.device, processes: int) -> tuple[Executor, Any, Any]:
    """Return workers, the queue on which they say how many steps they took, and the event that stops them."""
    if device.type == "cuda":
        steps, stop = queue.SimpleQueue[int](), threading.Event()
        return ThreadPoolExecutor(processes, "gan", _share, (steps, stop)), steps, stop
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    ways = context.SimpleQueue(), context.Event()
    threads = max(1, torch.get_num_threads() // processes)
    start = (*ways, threads, torch.are_deterministic_algorithms_enabled())
    return ProcessPoolExecutor(processes, context, _start, start), *ways


def _share(steps: Any, stop: Any) -> None:
    global _steps, _stop
    _steps, _stop = steps, stop


def _start(steps: Any, stop: Any, threads: int, deterministic: bool) -> None:
    _share(steps, stop)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no worker behind that goes on training, and writing checkpoints, after its parent was killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


class _Stopped(Exception):
    """Another task failed."""


def _train_in_worker(task: Task, device: torch.device) -> Trained:
    waiting = 0

    def count(steps: int) -> None:
        nonlocal waiting
        waiting += steps
        if waiting >= 16:  # a message for each step would cost as much as a small step
            _steps.put(waiting)
            waiting = 0
        if _stop.is_set():
            raise _Stopped

    with torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext():
        done = _train(task, device, count)
    if waiting:
        _steps.put(waiting)
    return done
