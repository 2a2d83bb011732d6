"""CUDA graphs of recurring work. The kernels of small networks take less time than their launches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# Several trainings may run in threads of one process. Only one of them may record at a time.
_RECORDING = threading.Lock()


@dataclass(frozen=True)
class Recorded:
    """A CUDA graph, the tensors that it reads, and the tensors of its result. A replay overwrites the result."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    result: Any


class Replays:
    """The recurring work of a training, as CUDA graphs.

    The first call runs the work directly, which also creates an optimiser's state and a library's handles. The second
    call records the work, and later calls replay it. All three compute the same. Work that cannot be recorded, such as
    a network that reads a result back to the CPU, keeps running directly. After such work nothing new is recorded, and
    what has been recorded is still replayed.

    Args:
        device: of the work; only work on a GPU is recorded.
        random: a generator that the work draws from besides torch's own. A replay draws the same numbers as a direct
            run would.
    """

    def __init__(self, device: torch.device, random: torch.Generator | None = None) -> None:
        self.on, self.random = device.type == "cuda", random
        # All work on one stream shares cuBLAS's workspace. Trainings replay at the same time, so each needs a stream.
        self.stream = torch.cuda.Stream(device) if self.on else None
        self.known: dict[Hashable, Recorded | None] = {}

    def run(self, work: Callable[..., Result], inputs: Sequence[Tensor], kind: Hashable = None) -> Result:
        """Return `work(*inputs)`, in tensors that stay valid until the next call.

        Args:
            work: may also read tensors that are no inputs, if they keep their addresses. Anything else that it reads,
                such as a number, must not change from call to call.
            inputs: of any shapes; each set of shapes is recorded separately.
            kind: separates different work on the same shapes.
        """
        key = kind, *((tensor.shape, tensor.dtype) for tensor in inputs)
        if self.on and key in self.known and self.known[key] is None:
            self.known[key] = self._recorded(work, inputs)
        recorded = self.known.setdefault(key, None)
        if recorded is None:
            return work(*inputs)
        for recorded_input, tensor in zip(recorded.inputs, inputs, strict=True):
            recorded_input.copy_(tensor)
        recorded.graph.replay()
        result: Result = recorded.result
        return result

    def _recorded(self, work: Callable[..., Any], inputs: Sequence[Tensor]) -> Recorded | None:
        """Record the work. If it cannot be recorded, return None, and record no other work from now on."""
        graph, copies = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in inputs]
        if self.random is not None:
            graph.register_generator_state(self.random)
        try:
            with _RECORDING, torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                result = work(*copies)
        except RuntimeError:
            self.on = False
            return None
        return Recorded(graph, copies, result)
