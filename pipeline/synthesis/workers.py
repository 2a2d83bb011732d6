"""Train several GANs at the same time, as one small network leaves most of a GPU and all other cores idle.

On CPUs each GAN has a process of its own. On a GPU each GAN has a thread and a CUDA stream in one process: kernels of
several streams run at the same time, those of several processes take turns.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from traceback import format_exc
from typing import Any

import numpy as np
import torch

from pipeline.core.ending import worker_ends_with_parent
from pipeline.core.errors import UserError
from pipeline.core.progress import bar
from pipeline.methods.gans import to_faces
from pipeline.synthesis.task import GanProgress, GanTask
from pipeline.synthesis.trainer import GanTrainer

# Steps that a process reports at a time: a message per step would cost as much as a small step.
REPORTED = 16
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
        stop, counting = threading.Event(), threading.Lock()

        def count(steps: int) -> None:
            if stop.is_set():
                raise _Stopped
            with counting:
                shown.update(steps)

        workers: list[_Worker] = []
        pool = futures.ThreadPoolExecutor(processes, "gan")
        try:
            train = partial(_train_on_stream, device, count)
            if device.type != "cuda":
                threads = max(1, torch.get_num_threads() // processes)
                workers += [_Worker(threads) for _ in range(min(processes, len(tasks)))]
                train = partial(_train_in_process, list(workers), device, count)
            running = [pool.submit(train, task) for task in tasks]
            futures.wait(running, return_when=futures.FIRST_EXCEPTION)
            failed = [future for future in running if future.done() and future.exception()]
            return [future.result() for future in failed or running]
        finally:
            stop.set()
            for worker in workers:
                worker.end()
            pool.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """Another task failed."""


def _train(task: GanTask, device: torch.device, on_steps: Callable[[int], Any]) -> TaskResult:
    with _BUILDING:
        trainer = GanTrainer(task, device)
    progress = trainer.progress
    on_steps(progress.epoch * task.steps_per_epoch() + progress.step)
    trainer.run(lambda: on_steps(1))
    weights = {name: tensor.cpu().numpy() for name, tensor in trainer.weights().items()}
    shown = np.stack([to_faces(faces) for faces in trainer.shown])
    return TaskResult(weights, progress, shown, trainer.resumed)


def _train_on_stream(device: torch.device, count: Callable[[int], Any], task: GanTask) -> TaskResult:
    with torch.cuda.stream(torch.cuda.Stream(device)):
        return _train(task, device, count)


def _train_in_process(
    idle: list[_Worker], device: torch.device, count: Callable[[int], Any], task: GanTask
) -> TaskResult:
    worker = idle.pop()
    result = worker.train(task, device, count)
    idle.append(worker)
    return result


class _Worker:
    """A process that trains one task after the other.

    It talks through a pipe: the named semaphores of `multiprocessing`'s queues would outlive a killed process group.

    Args:
        threads: of torch, in the process.
    """

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # threads do not survive a fork
        self._pipe, other = context.Pipe()
        arguments = (other, threads, torch.are_deterministic_algorithms_enabled())
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other.close()

    def train(self, task: GanTask, device: torch.device, count: Callable[[int], Any]) -> TaskResult:
        """Train a task; call `count` with numbers of finished steps."""
        try:
            self._pipe.send((task, device))
            while isinstance(answer := self._pipe.recv(), int):
                count(answer)
        except (EOFError, OSError):
            raise UserError(
                "a worker process was killed; the machine probably ran out of memory; gans.processes: 1 trains "
                "one GAN after the other"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """End the process, whatever it is doing. Its task keeps its checkpoint."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, threads: int, deterministic: bool) -> None:
    worker_ends_with_parent()
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    unreported = 0

    def count(steps: int) -> None:
        nonlocal unreported
        unreported += steps
        if unreported >= REPORTED:
            pipe.send(unreported)
            unreported = 0

    with suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            task, device = pipe.recv()
            try:
                answer: TaskResult | Exception = _train(task, device, count)
            except Exception as error:
                error.add_note(format_exc())
                answer = error
            pipe.send(unreported)
            pipe.send(answer)
            unreported = 0
