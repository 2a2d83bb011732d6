"""Work on all cores, or on a Ray cluster; results in the order of the work, few of them in memory at a time."""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from tempfile import TemporaryDirectory, mkstemp
from typing import Any, TypeVar

from pipeline.core.errors import UserError, one_line

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Yield lists of `size` items; the last one may be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def ordered(
    function: Callable[[A], B], items: Iterable[A], engine: str = "local", workers: int | None = None
) -> Iterator[B]:
    """Yield function(item) for each item, in the order of the items; no result depends on the workers.

    Args:
        function: survives pickling; each worker gets it once, so what it keeps is kept for the next item.
        items: small enough to be sent; read as far ahead as the workers need.
        engine: `local`: processes on this machine; `ray`: tasks on the cluster that RAY_ADDRESS names.
        workers: processes on this machine; None: one per core.

    Raises:
        UserError: a worker was killed (`local`), or there is no cluster (`ray`). What `function` raises is raised.
    """
    return _on_ray(function, items) if engine == "ray" else _in_processes(function, items, workers or cores())


def _in_processes(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    import cv2  # here, as every command imports this module

    # A forked worker has the imports already. Elsewhere than on Linux forking is not safe, and even there OpenCV
    # waits for ever, in the worker, for threads that only the parent has: so it gets none.
    cv2.setNumThreads(1)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    under_way: deque[Future[_Parcel]] = deque()
    gc.freeze()  # or collecting garbage in a worker copies all that it shares with its parent
    with TemporaryDirectory(prefix="fer-") as folder:
        pool = ProcessPoolExecutor(workers, context, _start, (function, folder))
        try:
            for item in items:
                under_way.append(pool.submit(_call, item))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result().opened()
            while under_way:
                yield under_way.popleft().result().opened()
        except BrokenProcessPool:
            if sys.version_info < (3, 11, 5):
                # A thread goes on writing to workers that are gone, and is waited for.
                pool._call_queue._reader.close()  # type: ignore[attr-defined]
            raise UserError(
                "a worker process was killed, which is what a machine short of memory does"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            gc.unfreeze()


@dataclass(frozen=True)
class _Parcel:
    """A result on its way from a worker: what is large in it lies in a file, which beats a pipe's small pieces.

    Attributes:
        content: the result as pickle, without its large buffers.
        file: which holds these, one behind the other; empty if there are none.
        sizes: of the buffers, in bytes.
    """

    content: bytes
    file: str
    sizes: list[int]

    @classmethod
    def packed(cls, result: object, folder: str) -> _Parcel:
        """Pack a result, with its large buffers in a new file of a folder if there is room for them."""
        buffers: list[pickle.PickleBuffer] = []
        content = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
        parts = [buffer.raw() for buffer in buffers]
        sizes = [part.nbytes for part in parts]
        if not any(sizes):
            return cls(content, "", sizes)
        name = ""
        try:
            number, name = mkstemp(dir=folder)
            with open(number, "wb") as file:
                file.writelines(parts)
        except OSError:
            if name:
                os.unlink(name)
            return cls(pickle.dumps(result), "", [])
        return cls(content, name, sizes)

    def opened(self) -> Any:
        """Return the result; its buffers are the file's pages, which go when the result goes."""
        pages = memoryview(bytearray())
        if self.file:
            with open(self.file, "rb") as file:
                os.unlink(self.file)
                pages = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        ends = list(accumulate(self.sizes, initial=0))
        return pickle.loads(self.content, buffers=[pages[a:b] for a, b in pairwise(ends)])


_function: Callable[[Any], Any]
_folder: str


def _start(function: Callable[[Any], Any], folder: str) -> None:
    import cv2

    global _function, _folder
    _function, _folder = function, folder
    cv2.setNumThreads(1)  # one picture per core beats many cores on one picture
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers


def _call(item: Any) -> _Parcel:
    return _Parcel.packed(_function(item), _folder)


def _on_ray(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    try:
        import ray
    except ImportError:
        raise UserError(
            "engine: found ray, which is not installed: pip install 'fer-pipeline[ray]'"
        ) from None
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
        # A task is run again where its worker or its node is lost.
        call = ray.remote(max_retries=-1)(_call_on_ray)
        most = 2 * int(ray.cluster_resources().get("CPU", 1))
        under_way: deque[Any] = deque()
        for item in items:
            under_way.append(call.remote(shared, item))
            if len(under_way) > most:
                yield ray.get(under_way.popleft())
        while under_way:
            yield ray.get(under_way.popleft())
    finally:
        ray.shutdown()


def _call_on_ray(function: Callable[[A], B], item: A) -> B:
    return function(item)
