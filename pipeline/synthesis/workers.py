"""Train several GANs at the same time, as one small network leaves most of a GPU and all other cores idle.

On CPUs each GAN has a process of its own. On a GPU each GAN has a thread and a CUDA stream in one process: kernels of
several streams run at the same time, those of several processes take turns.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.core.errors import UserError
from pipeline.core.progress import bar
from pipeline.methods.gans import to_faces
from pipeline.synthesis.task import GanProgress, GanTask
from pipeline.synthesis.trainer import GanTrainer

# Fresh weights come from torch's global random numbers, which all threads share.
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class TaskResult:
    """Result of one task, as arrays: tensors of a worker process do not outlive it.

    Attributes:
        weights: weights of the generator.
        progress: progress at the end of training.
        shown: sample faces after the epochs `progress.shown`, uint8 [E, n, H, W, C]; latent vectors are the same.
        resumed: whether training continued from a checkpoint.
    """

    weights: dict[str, np.ndarray]
    progress: GanProgress
    shown: np.ndarray
    resumed: bool


def train_tasks(
    tasks: Sequence[GanTask], device: torch.device, processes: int, title: str
) -> list[TaskResult]:
    """Train all tasks and return their results in order. A task with a checkpoint resumes.

    Args:
        tasks: tasks, independent of each other.
        device: device of all tasks.
        processes: number of tasks that run at the same time. On CPUs each task gets an equal share of the cores, so
            a task's numbers do not depend on how many others are unfinished.
        title: title of the progress bar.

    Raises:
        UserError: a task failed or its process was killed; the other tasks keep their checkpoints.
    """
    with bar(sum(task.steps() for task in tasks), desc=title, unit="steps") as shown:
        if processes == 1:
            return [_train(task, device, shown.update) for task in tasks]
        pool, steps, stop = _pool(device, processes)
        counter = threading.Thread(target=_count, args=(steps, shown.update), daemon=True)
        counter.start()
        try:
            running = [pool.submit(_train_in_worker, task, device) for task in tasks]
            futures.wait(running, return_when=futures.FIRST_EXCEPTION)
            failed = [f for f in running if f.done() and not f.cancelled() and f.exception()]
            return [future.result() for future in failed or running]
        except futures.BrokenExecutor:
            raise UserError(
                "a worker process was killed; the machine probably ran out of memory; gans.processes: 1 trains "
                "one GAN after the other"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            steps.put(0)
            counter.join()


def _train(task: GanTask, device: torch.device, on_steps: Callable[[int], Any]) -> TaskResult:
    with _BUILDING:
        trainer = GanTrainer(task, device)
    progress = trainer.progress
    on_steps(progress.epoch * task.steps_per_epoch() + progress.step)
    trainer.run(lambda: on_steps(1))
    weights = {name: tensor.cpu().numpy() for name, tensor in trainer.weights().items()}
    shown = np.stack([to_faces(faces) for faces in trainer.shown])
    return TaskResult(weights, progress, shown, trainer.resumed)


def _count(steps: Any, update: Callable[[int], Any]) -> None:
    while (done := steps.get()) > 0:
        update(done)


_steps: Any
_stop: Any


def _pool(device: torch.device, processes: int) -> tuple[futures.Executor, Any, Any]:
    """Return the workers, the queue of their finished steps, and the event that stops them."""
    if device.type == "cuda":
        steps, stop = queue.SimpleQueue[int](), threading.Event()
        return futures.ThreadPoolExecutor(processes, "gan", _share, (steps, stop)), steps, stop
    context = multiprocessing.get_context("spawn")  # threads do not survive a fork
    channels = context.SimpleQueue(), context.Event()
    threads = max(1, torch.get_num_threads() // processes)
    arguments = (*channels, threads, torch.are_deterministic_algorithms_enabled())
    return futures.ProcessPoolExecutor(processes, context, _start, arguments), *channels


def _share(steps: Any, stop: Any) -> None:
    global _steps, _stop
    _steps, _stop = steps, stop


def _start(steps: Any, stop: Any, threads: int, deterministic: bool) -> None:
    _share(steps, stop)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed; otherwise it would go on training and writing checkpoints."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


class _Stopped(Exception):
    """Another task failed."""


def _train_in_worker(task: GanTask, device: torch.device) -> TaskResult:
    unreported = 0

    def count(steps: int) -> None:
        nonlocal unreported
        unreported += steps
        if unreported >= 16:  # a message per step would cost as much as a small step
            _steps.put(unreported)
            unreported = 0
        if _stop.is_set():
            raise _Stopped

    with torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext():
        result = _train(task, device, count)
    if unreported:
        _steps.put(unreported)
    return result
