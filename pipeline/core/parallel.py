"""Map a function over items on all cores or on a Ray cluster: results in order, few of them in memory at a time."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from pipeline.core.ending import end_at_once, worker_ends_with_parent
from pipeline.core.errors import UserError, one_line
from pipeline.core.memory import budget

A = TypeVar("A")
B = TypeVar("B")

_PATIENCE = 5.0  # seconds without a result after which the workers are looked at


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free(item: object) -> int:
    """Return 0: the cost of an item that takes next to no memory."""
    return 0


def chunks(
    items: Iterable[A], size: int, cost: Callable[[A], int] = free, most: int = 0
) -> Iterator[list[A]]:
    """Yield lists of `size` items, or of fewer if these cost more than `most`. The last list may be shorter.

    Args:
        items: are read no further than the list that is yielded, or one item further if `most` ends it.
        size: of a list.
        cost: of an item, 0 or more.
        most: of the items of a list together; a single item may cost more.
    """
    chunk: list[A] = []
    total = 0
    for item in items:
        price = cost(item)
        if chunk and total + price > most:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += price
        if len(chunk) == size:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def fitting(workers: int | None, memory: float | None, each: int) -> int:
    """Return the number of workers to start, at least one, if each of them takes `each` bytes.

    Args:
        workers: their number if there is room for all; None: one per core.
        memory: GB that they may take together, see `memory.budget`.
        each: bytes.
    """
    workers = workers or cores()
    return max(1, min(workers, int(budget(memory, workers) // each)))


def ordered(
    function: Callable[[A], B],
    items: Iterable[A],
    engine: str = "local",
    workers: int | None = None,
    memory: float | None = None,
    cost: Callable[[A], int] = free,
) -> Iterator[B]:
    """Yield function(item) for each item, in the order of the items. No result depends on the number of workers.

    A single item is not worth a process: it is done in this one.

    Args:
        function: survives pickling. Each worker gets it once, so its state lasts from one item to the next.
        items: small, as they are sent to the workers. They are read only as far ahead as the workers need.
        engine: `local` for processes on this machine, `ray` for tasks on the cluster that RAY_ADDRESS names.
        workers: processes on this machine; None: one per core.
        memory: GB that all items in work may take together on this machine, see `memory.budget`. One item is always
            in work.
        cost: bytes that an item takes, in this process and in a worker, until its result is there.

    Raises:
        UserError: a worker was killed (`local`), there is no cluster (`ray`), or `memory` is negative. Errors of
            `function` pass through.
    """
    if engine == "ray":
        return _on_ray(function, items)
    remaining = iter(items)
    first = list(islice(remaining, 2))
    if len(first) < 2:
        return map(function, first)
    workers = workers or cores()
    return _in_processes(function, chain(first, remaining), workers, budget(memory, workers), cost)


def _in_processes(
    function: Callable[[A], B], items: Iterable[A], workers: int, most: float, cost: Callable[[A], int]
) -> Iterator[B]:
    import cv2  # here, as every command imports this module

    # A forked worker has all imports from its parent. Forking is safe on Linux alone, and there a forked OpenCV waits
    # for threads that only the parent has, unless it has none.
    cv2.setNumThreads(1)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pending: deque[tuple[Future[B], int]] = deque()
    used = 0
    gc.freeze()  # otherwise a worker's garbage collection copies the memory that it shares with its parent
    pool = ProcessPoolExecutor(workers, context, _start, (function,))
    try:
        for item in items:
            price, ready = cost(item), []
            while pending and (len(pending) > 2 * workers or used + price > most):
                done, freed = pending.popleft()
                ready.append(_result(done, pool))
                used -= freed
            pending.append((pool.submit(_call, item), price))
            used += price
            yield from ready
        while pending:
            yield _result(pending.popleft()[0], pool)
    except BaseException as error:
        # Nobody waits for what the workers still do: the user has interrupted it, or the results are not wanted.
        for worker in pool._processes.values():
            worker.kill()
        # A worker may have died in the middle of a result. Its reader waits for the rest until nobody could write it,
        # not even this process.
        pool._result_queue._writer.close()  # type: ignore[attr-defined]
        if sys.version_info < (3, 11, 5):
            # The shutdown would wait for a thread that still writes to the dead workers.
            pool._call_queue._reader.close()  # type: ignore[attr-defined]
        if isinstance(error, BrokenProcessPool):
            raise UserError("a worker process was killed; the machine probably ran out of memory") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


def _result(future: Future[B], pool: ProcessPoolExecutor) -> B:
    """Wait for a result.

    Raises:
        BrokenProcessPool: a worker has died. If that was in the middle of a result, the pool would wait for the rest.
    """
    while True:
        try:
            return future.result(timeout=_PATIENCE)
        except TimeoutError:
            if future.done():
                return future.result()
            if not all(worker.is_alive() for worker in pool._processes.values()):
                raise BrokenProcessPool from None


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    import cv2

    global _function
    _function = function
    cv2.setNumThreads(1)  # one image per core is faster than many cores on one image
    end_at_once()
    worker_ends_with_parent()


def _call(item: Any) -> Any:
    return _function(item)


def _on_ray(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    try:
        import ray
    except ImportError:
        raise UserError("engine: found ray, which is not installed: pip install ray") from None
    import pipeline

    try:
        ray.init(
            address="auto", log_to_driver=False, runtime_env={"py_modules": [pipeline]}, logging_level="ERROR"
        )
    except ConnectionError as error:
        raise UserError(
            f"engine: found ray, but no cluster: {one_line(error)}; start one with `ray start --head`, or name "
            "one in RAY_ADDRESS"
        ) from None
    try:
        shared = ray.put(function)
        # Ray repeats a task whose worker or node is lost.
        call = ray.remote(max_retries=-1)(_call_on_ray)
        most = 2 * int(ray.cluster_resources().get("CPU", 1))
        pending: deque[Any] = deque()
        for item in items:
            pending.append(call.remote(shared, item))
            if len(pending) > most:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())
    finally:
        ray.shutdown()


def _call_on_ray(function: Callable[[A], B], item: A) -> B:
    return function(item)
